using System.Globalization;

namespace Kvm.Vmm.Probing;

/// <summary>What the tiny guests found, as checks.</summary>
internal static class DoctorProbeChecks
{
    /// <summary>Above this an exit is slow: hardware takes 1 to 3 µs, nested hardware up to 30.</summary>
    private const double SlowExitMicroseconds = 50;

    /// <summary>All of them.</summary>
    public static IEnumerable<DoctorCheck> All(DoctorProbes probes)
    {
        yield return Modes(probes);
        yield return KernelCode(probes.Profile);
        yield return Exit(probes.ExitMicroseconds);
        yield return Quirks(probes.Profile);
    }

    private static DoctorCheck Modes(DoctorProbes probes)
    {
        (string Name, bool? Runs, bool Needed)[] modes =
        [
            ("real", probes.RealMode, false), ("protected", probes.ProtectedMode, true), ("64-bit", probes.LongMode, true), ("64-bit user", probes.UserMode, true),
        ];
        var missing = modes.Where(m => m.Runs != true).ToList();
        if (missing.Count == 0)
            return new DoctorCheck("cpu-modes", "CPU modes", DoctorStatus.Ok, $"{string.Join(", ", modes.Select(m => m.Name))}");
        var status = missing.Any(m => m.Needed) ? DoctorStatus.Failed : DoctorStatus.Warning;
        return new DoctorCheck("cpu-modes", "CPU modes", status, $"not: {string.Join(", ", missing.Select(m => m.Name))}")
        {
            Cause = status == DoctorStatus.Failed
                ? "a guest of a few instructions does not come to its end in these modes"
                : "application processors of a guest start in real mode",
            Fix = "Look at the kernel's messages: sudo dmesg | grep -i kvm",
        };
    }

    private static DoctorCheck KernelCode(HostProfile? profile)
    {
        if (profile is not { NanosecondsPerKernelInstruction: > 0 })
            return new DoctorCheck("kernel-code", "Kernel code", DoctorStatus.Failed, "could not be timed") { Cause = "the guest that times itself does not come to its end" };
        var time = $"{Number(profile.NanosecondsPerKernelInstruction)} ns an instruction";
        return profile.KernelInterpreted
            ? new DoctorCheck("kernel-code", "Kernel code", DoctorStatus.Warning, $"interpreted: {time}")
            {
                Cause = "this KVM has no hardware virtualization to run a guest's kernel with; user code is native",
                Fix = "Boots take long on KVM; --engine auto takes the software engine here",
            }
            : new DoctorCheck("kernel-code", "Kernel code", DoctorStatus.Ok, $"native: {time}");
    }

    private static DoctorCheck Exit(double? microseconds)
    {
        if (microseconds is not { } cost)
            return new DoctorCheck("exit-cost", "An exit", DoctorStatus.Failed, "could not be timed") { Cause = "the guest that exits does not come back" };
        var finding = $"{Number(cost)} µs from a port write to this program and back";
        return cost < SlowExitMicroseconds
            ? new DoctorCheck("exit-cost", "An exit", DoctorStatus.Ok, finding)
            : new DoctorCheck("exit-cost", "An exit", DoctorStatus.Warning, finding) { Cause = "nested virtualization, or a busy host" };
    }

    private static DoctorCheck Quirks(HostProfile? profile)
    {
        if (profile is null)
            return new DoctorCheck("quirks", "Quirks", DoctorStatus.Warning, "unknown") { Cause = "the guests that look for them do not come to their end" };
        var found = new List<string>();
        if (profile.SyscallBroken)
            found.Add("syscall keeps the user's CS and SS (repaired)");
        if (profile.GivesUpOnInstructions)
            found.Add("gives up on some kernel instructions (completed in user space)");
        return found.Count == 0
            ? new DoctorCheck("quirks", "Quirks", DoctorStatus.Ok, "none found")
            : new DoctorCheck("quirks", "Quirks", DoctorStatus.Warning, string.Join("; ", found)) { Cause = "this KVM deviates from the processor's manual; what is named is worked around" };
    }

    private static string Number(double value) => value.ToString(value < 10 ? "0.0" : "0", CultureInfo.InvariantCulture);
}
