using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>Why the host could not do something with a file: what a caller does differently, not what the kernel calls it.</summary>
public enum HostFileError : byte
{
    /// <summary>It could.</summary>
    None,

    /// <summary>A signal came first (EINTR), or something is short for a moment (EAGAIN): try again.</summary>
    Interrupted,

    /// <summary>The file system, a quota or a limit is full (ENOSPC, EDQUOT, EFBIG).</summary>
    NoSpace,

    /// <summary>This file or file system cannot do that at all (EOPNOTSUPP).</summary>
    Unsupported,

    /// <summary>Anything else, EIO first.</summary>
    Failed,

    /// <summary>It was given up before it began (ECANCELED), as its user asked or for want of a thread of the kernel.</summary>
    Cancelled,
}

/// <summary>What became of a transfer.</summary>
/// <param name="Bytes">Bytes transferred, possibly fewer than asked for; 0 with no error is the end of the file.</param>
/// <param name="Error">Why none were.</param>
public readonly record struct HostFileResult(long Bytes, HostFileError Error = HostFileError.None);

/// <summary>
/// A file or block device of the host, as disk images use it: transfers at positions, straight between the file and memory. One call is one
/// system call: short transfers and interruptions are the caller's to go on from, and tests make them happen here.
/// </summary>
/// <remarks>Safe from several threads at once. Nothing throws at run time.</remarks>
public interface IHostFile : IDisposable
{
    /// <summary>Bytes in it.</summary>
    ulong Length { get; }

    /// <summary>True if it was opened for reading only.</summary>
    bool IsReadOnly { get; }

    /// <summary>
    /// What positions, lengths and addresses of transfers must be multiples of: 1, or where the page cache is passed by (O_DIRECT) a power
    /// of two up to 4096.
    /// </summary>
    int Alignment { get; }

    /// <summary>The most buffers of one transfer (IOV_MAX).</summary>
    int MaxBuffers => 1024;

    /// <summary>Reads into buffers, one after another.</summary>
    HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Writes from buffers, one after another.</summary>
    HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Makes all that was written and acknowledged before durable (fdatasync).</summary>
    HostFileError Flush();

    /// <summary>Gives the storage of a range back to the host; it reads as zeros afterwards.</summary>
    HostFileError Discard(ulong position, ulong length);

    /// <summary>Makes a range read as zeros, keeping its storage.</summary>
    HostFileError WriteZeroes(ulong position, ulong length);

    /// <summary>Opens queues for operations that go on while their caller does something else. They are the caller's to dispose of, before the file.</summary>
    /// <param name="count">How many.</param>
    /// <param name="depth">The most operations under way in each.</param>
    /// <returns>So many, or none where the file is used by the calls above.</returns>
    IReadOnlyList<IHostFileQueue> OpenQueues(int count, int depth) => [];
}
