using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Probing;

/// <summary>Examines whether this host can run guests, and says what to do where it cannot.</summary>
public static class Doctor
{
    /// <summary>Runs every check; with a KVM some tiny guests too. Takes some tenths of a second.</summary>
    public static DoctorReport Examine() => Examine(new DoctorHost(), DoctorDevice.Path);

    internal static DoctorReport Examine(DoctorHost host, string device)
    {
        var error = Open(device, out var system);
        var report = system is null ? WithoutKvm(host, error) : WithKvm(host, system);
        return report with { Checks = [.. DoctorHostChecks.All(host).Take(1), .. report.Checks, .. DoctorHostChecks.All(host).Skip(1)] };
    }

    private static int Open(string device, out KvmSystem? system)
    {
        try
        {
            return KvmSystem.TryOpen(device, out system);
        }
        catch (KvmException e)
        {
            // It opens, but does not speak KVM's API of version 12.
            system = null;
            return e.Errno;
        }
    }

    private static DoctorReport WithoutKvm(DoctorHost host, int error)
    {
        var (cause, fix) = DoctorDevice.Diagnose(error, host);
        return Conclude(new DoctorReport
        {
            Checks = [new DoctorCheck("device", DoctorDevice.Path, DoctorStatus.Failed, Errno.TextOf(error)) { Cause = cause, Fix = fix }],
            Engines = [],
            Advice = null,
            AdviceReason = "",
            Backend = "none",
            Nested = host.IsGuest,
        });
    }

    private static DoctorReport WithKvm(DoctorHost host, KvmSystem system)
    {
        using (system)
        {
            var capabilities = DoctorCapabilities.List(system);
            var machine = Machine(system);
            var probes = machine.Status == DoctorStatus.Ok ? DoctorProber.Probe(system) : new DoctorProbes();
            var backend = KvmModules.BackendName();
            return Conclude(new DoctorReport
            {
                Checks =
                [
                    new DoctorCheck("device", DoctorDevice.Path, DoctorStatus.Ok, "can be opened"),
                    new DoctorCheck("api", "API version", DoctorStatus.Ok, $"{system.GetApiVersion()}"),
                    machine,
                    Backend(backend, host),
                    DoctorCapabilities.Check(capabilities),
                    .. DoctorProbeChecks.All(probes),
                    Processors(system),
                    NestedGuests(system, host),
                ],
                Engines = [],
                Advice = null,
                AdviceReason = "",
                Backend = backend,
                Nested = host.IsGuest,
                ApiVersion = system.GetApiVersion(),
                Capabilities = capabilities,
                Probes = probes,
            });
        }
    }

    /// <summary>What follows from the checks: which engine can run, and which one to take.</summary>
    private static DoctorReport Conclude(DoctorReport report)
    {
        var failed = report.Checks.FirstOrDefault(c => c.Status == DoctorStatus.Failed);
        var interpreted = report.Probes.Profile is { KernelInterpreted: true };
        var engines = EngineSelector.Engines.Select(name => name == "kvm"
            ? new DoctorEngine(name, failed is null, failed is null ? interpreted ? "runs user code natively and interprets kernels" : "runs guests natively" : $"{failed.Title}: {failed.Cause ?? failed.Finding}")
            : new DoctorEngine(name, true, "needs nothing of the host")).ToList();
        var kvm = engines.Any(e => e is { Name: "kvm", Usable: true });
        var soft = engines.Any(e => e is { Name: "soft", Usable: true });
        var (advice, reason) = (kvm, soft, interpreted) switch
        {
            (true, true, true) => ("soft", "this KVM interprets kernels, which the software engine runs many times faster"),
            (true, false, true) => ("kvm", "this KVM interprets kernels: a boot takes long, user code is native"),
            (true, _, _) => ("kvm", "this KVM runs guests natively"),
            (false, true, _) => ("soft", "KVM cannot run guests here"),
            _ => (null, "nothing can run guests here"),
        };
        return report with { Engines = engines, Advice = advice, AdviceReason = reason };
    }

    private static DoctorCheck Machine(KvmSystem system)
    {
        try
        {
            system.CreateVm().Dispose();
            return new DoctorCheck("machine", "A machine", DoctorStatus.Ok, "can be made");
        }
        catch (KvmException e)
        {
            var (cause, fix) = e.Errno == Errno.EBUSY
                ? DoctorDevice.Diagnose(e.Errno, new DoctorHost())
                : (KvmException.HintFor(e.Call, e.Errno) ?? "KVM refuses it", "Look at the kernel's messages: sudo dmesg | grep -i kvm");
            return new DoctorCheck("machine", "A machine", DoctorStatus.Failed, $"cannot be made: {Errno.TextOf(e.Errno)}") { Cause = cause, Fix = fix };
        }
    }

    private static DoctorCheck Backend(string name, DoctorHost host)
    {
        var words = name switch
        {
            "vmx" => "vmx: Intel VT-x (kvm_intel)",
            "svm" => "svm: AMD-V (kvm_amd)",
            "pvm" => "pvm: no hardware virtualization; user code natively, kernels interpreted (kvm_pvm)",
            _ => "unknown: none of kvm_intel, kvm_amd, kvm_pvm is loaded",
        };
        var nested = host.IsGuest ? $", nested{(host.MachineName is { } machine ? $" in {machine}" : "")}" : ", on the bare machine";
        return name == "unknown"
            ? new DoctorCheck("backend", "Backend", DoctorStatus.Warning, words + nested) { Cause = "KVM may be built into the kernel; nothing depends on its name" }
            : new DoctorCheck("backend", "Backend", DoctorStatus.Ok, words + nested);
    }

    private static DoctorCheck Processors(KvmSystem system)
    {
        var recommended = Math.Max(system.CheckExtension(KvmCap.KVM_CAP_NR_VCPUS), 1);
        var most = Math.Min(Math.Max(system.CheckExtension(KvmCap.KVM_CAP_MAX_VCPUS), recommended), VmConfig.MaxCpus);
        return new DoctorCheck("vcpus", "vCPUs", DoctorStatus.Ok, $"{recommended} recommended, {most} at most for one guest");
    }

    private static DoctorCheck NestedGuests(KvmSystem system, DoctorHost host)
    {
        try
        {
            Cpu.CpuidPolicy.RequireNested(nested: true, system.GetSupportedCpuid());
            return new DoctorCheck("nested-guests", "Guests in guests", DoctorStatus.Ok, "--nested passes VMX or SVM on");
        }
        catch (VmmException)
        {
            var module = host.IsIntel ? "kvm_intel" : "kvm_amd";
            return new DoctorCheck("nested-guests", "Guests in guests", DoctorStatus.Warning, "KVM offers neither VMX nor SVM to guests; --nested is refused")
            {
                Cause = host.HasVmx || host.HasSvm ? $"the module {module} was loaded without nested=1" : "the host's processor does not offer it either",
                Fix = host.HasVmx || host.HasSvm ? $"sudo modprobe -r {module} && sudo modprobe {module} nested=1" : null,
            };
        }
    }
}
