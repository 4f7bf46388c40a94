using System.Runtime.InteropServices;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage;

/// <summary>A file or block device of the host as disk images use it, locked against a second writer.</summary>
internal sealed partial class HostFile : IHostFile
{
    private readonly DiskFile _file;
    private readonly bool _asynchronous;
    private readonly bool _flushes;
    private HostFileQueue[] _queues = [];

    private HostFile(DiskFile file, DiskConfig disk) =>
        (_file, IsReadOnly, _asynchronous, _flushes) = (file, disk.ReadOnly, disk.Aio == DiskAio.Uring, disk.Cache != DiskCache.Unsafe);

    public ulong Length => _file.CurrentLength;

    /// <summary>Which file it is.</summary>
    public FileIdentity Identity => _file.Identity;

    public bool IsReadOnly { get; }

    public int Alignment => _file.Alignment;

    /// <summary>True for a block device, false for a regular file.</summary>
    public bool IsBlockDevice => _file.IsBlockDevice;

    /// <summary>The machine's memory where not all of it may be there: without what was saved nothing is written. Set before there are queues.</summary>
    public Snapshots.Lazy.PagedMemory? Pages { get; set; }

    /// <summary>Opens and locks what <paramref name="disk"/> names.</summary>
    /// <exception cref="VmmException">It cannot be used as a disk: one of <see cref="DiskErrors"/>.</exception>
    public static HostFile Open(DiskConfig disk) => Open(disk, isDisk: true);

    /// <summary>Opens and locks an existing file, of any length, for a disk that is to be made in it.</summary>
    /// <exception cref="VmmException">It cannot be used: one of <see cref="DiskErrors"/>.</exception>
    public static HostFile OpenNew(string path, DiskCache cache = DiskCache.WriteBack) => Open(new DiskConfig { Path = path, Cache = cache }, isDisk: false);

    private static HostFile Open(DiskConfig disk, bool isDisk)
    {
        string name = VisibleText.Quote(disk.Path);
        bool direct = disk.Cache == DiskCache.None;
        DiskFile file;
        try
        {
            file = DiskFile.Open(disk.Path, disk.ReadOnly, direct);
        }
        catch (KvmException e)
        {
            bool noDirect = direct && e.Errno == Errno.EINVAL;
            throw new VmmException(noDirect ? DiskErrors.NoDirect : DiskErrors.Unreadable, $"{name}: {Errno.TextOf(e.Errno)}", e);
        }

        try
        {
            if (file.TryLock(exclusive: !disk.ReadOnly) is not 0 and var failure)
                throw new VmmException(DiskErrors.InUse, $"{name}: {(disk.ReadOnly ? "somebody writes to it" : "somebody else uses it")} ({Errno.NameOf(-failure)})");
            if ((isDisk && file.Length < IDiskImage.SectorSize) || file.Length % (uint)file.Alignment != 0)
                throw new VmmException(DiskErrors.BadSize, $"{name}: {file.Length} bytes");
        }
        catch
        {
            file.Dispose();
            throw;
        }

        return new HostFile(file, disk);
    }

    public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => Result(_file.ReadAt(position, Pieces(buffers)));

    public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) =>
        MayWrite(buffers) ? Result(_file.WriteAt(position, Pieces(buffers))) : new HostFileResult(0, HostFileError.Failed);

    public HostFileError Flush() => !MayWrite([]) ? HostFileError.Failed : _flushes ? Error(_file.Flush()) : HostFileError.None;

    public HostFileError Discard(ulong position, ulong length) => MayWrite([]) ? Error(_file.PunchHole(position, length)) : HostFileError.Failed;

    public HostFileError WriteZeroes(ulong position, ulong length) => MayWrite([]) ? Error(_file.ZeroRange(position, length)) : HostFileError.Failed;

    private bool MayWrite(ReadOnlySpan<HostBuffer> buffers) => Pages is null || Pages.MayWrite(buffers);

    /// <summary>Why the host gave no queues though the disk asks for them; null if it did, or was not asked.</summary>
    public string? QueueProblem { get; private set; }

    public IReadOnlyList<IHostFileQueue> OpenQueues(int count, int depth)
    {
        if (!_asynchronous)
            return [];
        var queues = new List<HostFileQueue>();
        while (queues.Count < count)
        {
            int result = HostFileQueue.TryCreate(_file, depth, Pages, out var queue);
            if (queue is null)
            {
                QueueProblem = $"{Errno.NameOf(-result)}: {Errno.TextOf(-result)}";
                queues.ForEach(q => q.Dispose());
                return [];
            }

            queues.Add(queue);
        }

        return _queues = [.. queues];
    }

    /// <summary>Says what each queue signals when operations end. Once, after <see cref="OpenQueues"/>.</summary>
    /// <exception cref="KvmException">The kernel refuses.</exception>
    public void SignalBy(Func<int, EventFd> bellOf)
    {
        for (int i = 0; i < _queues.Length; i++)
            _queues[i].SignalBy(bellOf(i));
    }

    public void Dispose() => _file.Dispose();

    // Both are laid out as struct iovec.
    internal static ReadOnlySpan<IoVector> Pieces(ReadOnlySpan<HostBuffer> buffers) => MemoryMarshal.Cast<HostBuffer, IoVector>(buffers);

    internal static HostFileResult Result(nint count) => count >= 0 ? new HostFileResult(count) : new HostFileResult(0, Error((int)count));

    private static HostFileError Error(int result) => -result switch
    {
        <= 0 => HostFileError.None,
        Errno.EINTR or Errno.EAGAIN => HostFileError.Interrupted,
        Errno.ENOSPC or Errno.EDQUOT or Errno.EFBIG => HostFileError.NoSpace,
        Errno.EOPNOTSUPP or Errno.ENOSYS => HostFileError.Unsupported,
        Errno.ECANCELED => HostFileError.Cancelled,
        _ => HostFileError.Failed,
    };
}
