namespace Kvm.Vmm;

/// <summary>
/// One kind of failure that a person can meet: its stable id and what to do about it. Every instance is listed
/// in <see cref="ErrorTable.All"/>, from which docs/errors.md is checked.
/// </summary>
/// <param name="Id">Stable id, <c>KVM</c> and four digits; never reused for another meaning.</param>
/// <param name="Summary">What failed, half a sentence without a full stop.</param>
/// <param name="Cause">Why this happens, for docs/errors.md.</param>
/// <param name="Fix">What to type or change next.</param>
public sealed record ErrorInfo(string Id, string Summary, string Cause, string Fix)
{
    /// <summary>The exit code of the program when this error ends it: one of <see cref="Vmm.ExitCode"/>.</summary>
    public int ExitCode { get; init; } = Vmm.ExitCode.HostFailure;
}

/// <summary>
/// A failure that ends the operation and that a person should read: an <see cref="ErrorInfo"/> and the detail of this
/// one occurrence (which file, which field, which offset). Never thrown on a vCPU or device thread because of what
/// a guest did.
/// </summary>
public class VmmException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="error">The kind of failure.</param>
    /// <param name="detail">This occurrence: names, values and offsets; one line.</param>
    /// <param name="inner">The exception behind it, or null.</param>
    public VmmException(ErrorInfo error, string detail, Exception? inner = null)
        : base(detail, inner)
    {
        ArgumentNullException.ThrowIfNull(error);
        Error = error;
    }

    /// <summary>The kind of failure.</summary>
    public ErrorInfo Error { get; }

    /// <summary>The exit code of the program when this exception ends it.</summary>
    public int ExitCode => Error.ExitCode;

    /// <summary>What to print: at most three lines: id and what failed, why, what to type next.</summary>
    public string ToDisplayText() => $"error {Error.Id}: {Error.Summary}\n  {Message}\n  {Error.Fix}";
}

/// <summary>
/// All errors, by area. Ranges: 0001–0099 usage and configuration, 0100–0149 kernel and initrd files,
/// 0150–0199 other input files, 0200–0299 host and KVM, 0300–0399 running guests, 0400 and above later issues.
/// </summary>
public static class ErrorTable
{
    /// <summary>Every error of every area, in ascending order of id. Built when asked for: only docs and tests need it.</summary>
    public static IReadOnlyList<ErrorInfo> All =>
    [
        .. UsageErrors.All,
        .. LabErrors.All,
        .. Boot.LoadErrors.All,
        .. Storage.DiskErrors.All,
        .. Storage.Tools.DiskToolErrors.All,
        .. Virtio.Ports.PortErrors.All,
        .. Virtio.Sockets.VsockErrors.All,
        .. Network.NetworkErrors.All,
        .. HostErrors.All,
        // Both are of running guests and have a range in common.
        .. Reporting.OutcomeErrors.All.Concat(Control.ControlErrors.All).OrderBy(error => error.Id, StringComparer.Ordinal),
        .. Scheduling.SchedulingErrors.All,
        .. Debugging.DebuggingErrors.All,
        .. Agent.AgentErrors.All,
        .. Snapshots.Store.SnapshotErrors.All,
        .. Snapshots.RestoreErrors.All,
        .. ManagerErrors.All,
        .. PoolErrors.All,
        .. NetworkObjectErrors.All,
        .. ApiErrors.All,
        .. FirecrackerErrors.All,
    ];
}
