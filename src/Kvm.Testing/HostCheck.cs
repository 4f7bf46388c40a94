using Kvm.Vmm.Probing;

namespace Kvm.Testing;

/// <summary>What <c>kvmsharp doctor</c> thinks of this host, found out once in a process.</summary>
public static class HostCheck
{
    private static readonly Lazy<DoctorReport> s_report = new(Doctor.Examine);

    /// <summary>All of it.</summary>
    public static DoctorReport Report => s_report.Value;

    /// <summary>Why guests do not run natively on KVM here, in doctor's words; null where they do.</summary>
    public static string? WhyNoKvm => WhyNoKvmIn(Report);

    /// <summary>Nothing, where guests run natively on KVM here.</summary>
    /// <exception cref="GuestUnavailableException">They do not, and why.</exception>
    public static void RequireKvm()
    {
        if (WhyNoKvm is { } why)
            throw new GuestUnavailableException($"needs KVM: {why}");
    }

    internal static string? WhyNoKvmIn(DoctorReport report)
    {
        if (report.Checks.FirstOrDefault(check => check.Status == DoctorStatus.Failed) is { } failed)
            return $"{failed.Title}: {failed.Finding}{Part("; ", failed.Cause)}{Part(". To mend it: ", failed.Fix)}";
        return report.Advice == "kvm" ? null : report.AdviceReason;
    }

    private static string Part(string before, string? text) => text is null ? "" : before + text;
}
