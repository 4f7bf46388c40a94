using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Probing;

namespace Kvm.Vmm.Vcpu;

/// <summary>An engine that can run here, not made yet.</summary>
/// <param name="Profile">What is known of the host.</param>
/// <param name="Create">Makes the engine.</param>
internal sealed record EngineOffer(HostProfile Profile, Func<VmConfig, GuestMemory, IoBus, IoBus, IEngine> Create);

/// <summary>Decides which engine runs a machine.</summary>
internal static class EngineSelector
{
    /// <summary>The engines this build has, by the names of the command line.</summary>
    public static IReadOnlyList<string> Engines { get; } = ["kvm", "soft"];

    /// <summary>The engine <paramref name="config"/> asks for; for <see cref="EngineChoice.Auto"/>, KVM where it runs kernels natively, else the software engine.</summary>
    /// <exception cref="VmmException">The host cannot.</exception>
    public static EngineOffer Choose(VmConfig config, VmHost host) => config.Engine switch
    {
        EngineChoice.Kvm when config.Deterministic =>
            throw new VmmException(HostErrors.NotDeterministic, "--deterministic was asked for together with --engine kvm"),
        _ when host.Seats is not null && (config.Deterministic || config.Engine == EngineChoice.Soft || config.Paging == PagingMode.Shadow || config.Cpu != CpuModel.V2) =>
            throw new VmmException(HostErrors.NoPolicyForSoft, "a policy was asked for together with an option that only the software engine has"),
        _ when config is { Deterministic: true, Nested: true } or { Deterministic: true, HyperV: true } =>
            throw new VmmException(HostErrors.NotDeterministic, "--nested and --hyperv need KVM, --deterministic the software engine"),
        _ when config.Paging == PagingMode.Shadow && (config.Engine == EngineChoice.Kvm || config.Nested || config.HyperV) =>
            throw new VmmException(HostErrors.NoShadowPaging, "--paging shadow was asked for together with --engine kvm, --nested or --hyperv"),
        _ when config.Cpu != CpuModel.V2 && (config.Engine == EngineChoice.Kvm || config.Nested || config.HyperV) =>
            throw new VmmException(HostErrors.NoCpuModel, "--cpu was asked for together with --engine kvm, --nested or --hyperv"),
        _ when config.Deterministic => Deterministic(host),
        EngineChoice.Auto when config.Paging == PagingMode.Shadow || config.Cpu != CpuModel.V2 => Soft(host, host.Profile?.Backend ?? "none"),
        EngineChoice.Soft => Soft(host, host.Profile?.Backend ?? "none"),
        _ when config.Engine == EngineChoice.Kvm || host.Seats is not null => OfferKvm(OpenKvm(), host),
        _ => Auto(config, host),
    };

    private static EngineOffer Auto(VmConfig config, VmHost host)
    {
        KvmSystem system;
        try
        {
            system = OpenKvm();
        }
        catch (VmmException e)
        {
            host.Notice?.Invoke($"the software engine runs this guest: {e.Message}");
            return Soft(host, "none");
        }

        var offer = OfferKvm(system, host);
        bool needsKvm = config.Nested || config.HyperV;
        if (!offer.Profile.KernelInterpreted || needsKvm)
            return offer;
        system.Dispose();
        host.Notice?.Invoke(string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"the software engine runs this guest: this host's KVM interprets kernels ({offer.Profile.NanosecondsPerKernelInstruction:0} ns an instruction); --engine kvm takes it all the same"));
        return Soft(host, offer.Profile.Backend);
    }

    /// <summary>Nothing of the host's KVM matters to this engine but its name, for the report.</summary>
    private static EngineOffer Soft(VmHost host, string backend) =>
        new(HostProfile.Plain with { Backend = backend }, (config, memory, ports, mmio) => new SoftEngine(config, memory, ports, mmio, host.Time));

    /// <summary>Whatever the host's KVM can do: only the software engine counts every instruction.</summary>
    private static EngineOffer Deterministic(VmHost host) =>
        new(HostProfile.Plain with { Backend = host.Profile?.Backend ?? "none" }, (config, memory, ports, mmio) => new DeterministicEngine(config, memory, ports, mmio));

    private static EngineOffer OfferKvm(KvmSystem system, VmHost host)
    {
        try
        {
            var profile = host.Profile ?? Profile(system);
            return new EngineOffer(profile, (config, memory, ports, mmio) => new KvmEngine(system, config, profile, memory, ports, mmio, host.Time));
        }
        catch
        {
            system.Dispose();
            throw;
        }
    }

    /// <summary>Opens /dev/kvm, or says why not.</summary>
    internal static KvmSystem OpenKvm(string path = "/dev/kvm")
    {
        int error = KvmSystem.TryOpen(path, out var system);
        if (system is not null)
            return system;
        var kind = error is Errno.EACCES or Errno.EPERM ? HostErrors.NotPermitted : HostErrors.NoKvm;
        throw new VmmException(kind, $"{path}: {Errno.TextOf(error)}: {DoctorDevice.Diagnose(error, new DoctorHost()).Cause}");
    }

    private static HostProfile Profile(KvmSystem system)
    {
        if (HostProfileCache.Read() is { } known)
            return known;
        var found = HostProber.Probe(system);
        HostProfileCache.Write(found);
        return found;
    }
}
