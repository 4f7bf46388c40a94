using Kvm.Devices.Block;
using Kvm.Interop;

namespace Kvm.Vmm.Storage;

/// <summary>What programs that copy disks ask of a file.</summary>
internal sealed partial class HostFile
{
    /// <summary>Bytes of storage it takes now.</summary>
    public ulong AllocatedBytes => _file.AllocatedBytes;

    /// <summary>The first range at a position or behind it that may hold something else than zeros; one without length at the end if there is none.</summary>
    public (ulong Start, ulong End) FindData(ulong from) => _file.FindData(from, out ulong start, out ulong end) switch
    {
        0 => (start, end),
        -Errno.ENXIO => (ulong.MaxValue, ulong.MaxValue),
        _ => (from, ulong.MaxValue), // it cannot tell: all of it may be data
    };

    /// <summary>Copies a range to the same place of another file inside the kernel; <see cref="HostFileError.Unsupported"/> where it cannot between these two.</summary>
    public HostFileResult CopyTo(HostFile target, ulong position, ulong length)
    {
        nint count = _file.CopyTo(target._file, position, length);
        return -count is Errno.EXDEV or Errno.EINVAL or Errno.EBADF ? new HostFileResult(0, HostFileError.Unsupported) : Result(count);
    }

    /// <summary>Makes the file longer or shorter; <see cref="Length"/> stays what it was.</summary>
    public HostFileError Resize(ulong length) => Error(_file.Resize(length));

    /// <summary>Takes storage for all of a disk that is to be in it.</summary>
    public HostFileError Reserve(ulong length) => Error(_file.Reserve(0, length));

    /// <summary>Locks it otherwise than it was locked: alone, or together with others who read. False where somebody has a lock that excludes that; the old one stays then.</summary>
    public bool TryLock(bool alone) => _file.TryLock(alone) == 0;

    /// <summary>Makes another file hold what this one holds, sharing its storage (reflink); <see cref="HostFileError.Unsupported"/> where these two cannot.</summary>
    public HostFileError CloneTo(HostFile target)
    {
        int result = _file.CloneTo(target._file);
        return -result is Errno.EXDEV or Errno.EINVAL or Errno.EOPNOTSUPP or Errno.ENOTTY ? HostFileError.Unsupported : Error(result);
    }
}
