using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Api.Http;

/// <summary>Why a request is not done, with the HTTP status that says so.</summary>
/// <param name="status">The status, 400 and above.</param>
/// <param name="error">The kind of failure.</param>
/// <param name="detail">This occurrence.</param>
/// <param name="inner">The exception behind it, or null.</param>
internal sealed class ApiRefusal(int status, ErrorInfo error, string detail, Exception? inner = null) : VmmException(error, detail, inner)
{
    private static readonly ErrorInfo[] s_missing = [ManagerErrors.NoSuchVm, ManagerErrors.NoSuchCommand, SnapshotErrors.NotFound, PoolErrors.NoSuchPool, PoolErrors.NoSuchVolume, NetworkObjectErrors.NoSuchNetwork];
    private static readonly ErrorInfo[] s_conflicts =
    [
        ManagerErrors.WrongState, ManagerErrors.NameTaken, ManagerErrors.Busy, ControlErrors.NoGuest, SnapshotErrors.Exists, SnapshotErrors.HasChildren, SnapshotErrors.Busy,
        PoolErrors.Taken, PoolErrors.VolumeInUse, PoolErrors.NotEmpty, PoolErrors.OverQuota, PoolErrors.Busy,
        NetworkObjectErrors.WrongState, NetworkObjectErrors.Overlaps,
    ];

    /// <summary>The HTTP status.</summary>
    public int Status => status;

    /// <summary>The methods that the path takes, or null.</summary>
    public string? Allow { get; init; }

    /// <summary>The request's method and path, for APIs that repeat them.</summary>
    public string Asked { get; set; } = "";

    /// <summary>A failure of what was to be done, as a refusal.</summary>
    public static ApiRefusal Of(VmmException e) => e as ApiRefusal ?? new ApiRefusal(StatusOf(e.Error), e.Error, e.Message, e);

    /// <summary>The answer of this program's own APIs: what failed, why, and what to do.</summary>
    public ApiAnswer ToAnswer() =>
        ApiAnswer.Json(new ErrorView(new ErrorDetail(Error.Id, Error.Summary, Message, Error.Fix)), HttpJson.Default.ErrorView, Status);

    /// <summary>The status of an error: what is not there, what its state does not allow, what was asked wrongly; else the host's fault.</summary>
    private static int StatusOf(ErrorInfo error)
    {
        if (Array.IndexOf(s_missing, error) >= 0)
            return 404;
        if (Array.IndexOf(s_conflicts, error) >= 0)
            return 409;
        if (error == ManagerErrors.QueueFull)
            return 503;
        return error.ExitCode is Vmm.ExitCode.Usage or Vmm.ExitCode.BadInput ? 400 : 500;
    }
}
