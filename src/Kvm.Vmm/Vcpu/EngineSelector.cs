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
    public static IReadOnlyList<string> Engines { get; } = ["kvm"];

    /// <summary>The engine <paramref name="config"/> asks for.</summary>
    /// <exception cref="VmmException">The host cannot.</exception>
    public static EngineOffer Choose(VmConfig config, VmHost host)
    {
        if (config.Engine == EngineChoice.Soft && !Engines.Contains("soft"))
            throw new VmmException(HostErrors.NoSuchEngine, "this version has no software engine");
        var system = OpenKvm();
        try
        {
            var profile = host.Profile ?? Profile(system);
            return new EngineOffer(profile, (c, memory, ports, mmio) => new KvmEngine(system, c, profile, memory, ports, mmio));
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
