using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

/// <summary>Calls a file takes.</summary>
public enum FileCall
{
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
}

/// <summary>
/// A file in memory that remembers what a crash of the host would leave of it, gives storage back page by page, and fails where a test says.
/// </summary>
internal sealed class MemoryFile : IHostFile
{
    private readonly Lock _lock = new();
    private readonly byte[] _bytes;
    private readonly byte[] _stable;
    private readonly bool[] _holes;
    private readonly List<FileCall> _calls = [];

    public MemoryFile(int length, int alignment = 1, bool readOnly = false)
    {
        (_bytes, _stable, _holes) = (new byte[length], new byte[length], new bool[(length + 4095) / 4096]);
        (Alignment, IsReadOnly) = (alignment, readOnly);
    }

    /// <summary>
    /// Asked before each call, with its number, kind, and bytes: what it returns is what the call does, and no more happens than it says
    /// (a short transfer transfers so much). A flush that fails loses what was written since the last good one. Null lets the call work.
    /// </summary>
    public Func<int, FileCall, long, HostFileResult?>? Inject { get; set; }

    /// <summary>Called in each transfer, outside the file's lock.</summary>
    public Action? InTheMiddle { get; set; }

    public ulong Length => (ulong)_bytes.Length;

    public bool IsReadOnly { get; }

    public int Alignment { get; }

    public int MaxBuffers { get; init; } = 1024;

    /// <summary>It has queues.</summary>
    public bool Asynchronous { get; init; }

    /// <summary>The queues it has given.</summary>
    public List<MemoryFileQueue> Queues { get; } = [];

    public bool Disposed { get; private set; }

    public IReadOnlyList<FileCall> Calls
    {
        get
        {
            lock (_lock)
                return [.. _calls];
        }
    }

    /// <summary>The content as the guest sees it.</summary>
    public Span<byte> Bytes => _bytes;

    /// <summary>The content after a crash of the host at this moment.</summary>
    public ReadOnlySpan<byte> Stable => _stable;

    /// <summary>True once a transfer was asked for that does not lie in the file.</summary>
    public bool Strayed { get; private set; }

    public int Holes => _holes.Count(h => h);

    public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => Transfer(FileCall.Read, position, buffers);

    public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => Transfer(FileCall.Write, position, buffers);

    public HostFileError Flush() => Change(FileCall.Flush, () => _bytes.CopyTo(_stable, 0));

    public HostFileError Discard(ulong position, ulong length) => Change(FileCall.Discard, () =>
    {
        Span(position, length).Clear();
        for (ulong page = (position + 4095) / 4096; (page + 1) * 4096 <= position + length; page++)
            _holes[page] = true;
    });

    public HostFileError WriteZeroes(ulong position, ulong length) => Change(FileCall.WriteZeroes, () => Span(position, length).Clear());

    public IReadOnlyList<IHostFileQueue> OpenQueues(int count, int depth)
    {
        MemoryFileQueue[] queues = Asynchronous ? [.. Enumerable.Range(0, count).Select(_ => new MemoryFileQueue(this, depth))] : [];
        Queues.AddRange(queues);
        return queues;
    }

    public void Dispose() => Disposed = true;

    private Span<byte> Span(ulong position, ulong length) => _bytes.AsSpan(checked((int)position), checked((int)length));

    private HostFileError Change(FileCall call, Action change)
    {
        lock (_lock)
        {
            if (Next(call, 0) is { } injected && (injected.Error != HostFileError.None))
            {
                // As Linux does: the pages that could not be written are clean afterwards, and gone with the next need of memory.
                if (call == FileCall.Flush && injected.Error is not (HostFileError.Interrupted or HostFileError.Cancelled))
                    _stable.CopyTo(_bytes, 0);
                return injected.Error;
            }

            change();
            return HostFileError.None;
        }
    }

    private HostFileResult? Next(FileCall call, long bytes)
    {
        _calls.Add(call);
        return Inject?.Invoke(_calls.Count - 1, call, bytes);
    }

    private HostFileResult Transfer(FileCall call, ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        InTheMiddle?.Invoke();
        long wanted = 0;
        foreach (var buffer in buffers)
            wanted += buffer.Length;
        lock (_lock)
        {
            if (buffers.Length > MaxBuffers || !IsAligned(position, buffers) || (call == FileCall.Write && IsReadOnly))
                return new HostFileResult(0, HostFileError.Failed);
            Strayed |= position > Length || (ulong)wanted > Length - position;
            long most = Math.Min(wanted, Math.Max(0, _bytes.Length - (long)position));
            if (Next(call, wanted) is { } injected)
            {
                if (injected.Error != HostFileError.None)
                    return injected;
                most = Math.Min(most, injected.Bytes);
            }

            Copy(call, (int)position, buffers, most);
            return new HostFileResult(most);
        }
    }

    private void Copy(FileCall call, int at, ReadOnlySpan<HostBuffer> buffers, long most)
    {
        foreach (var buffer in buffers)
        {
            int count = (int)Math.Min(buffer.Length, most);
            if (call == FileCall.Read)
                _bytes.AsSpan(at, count).CopyTo(buffer.Span);
            else
                buffer.Span[..count].CopyTo(_bytes.AsSpan(at, count));
            if (call == FileCall.Write && count > 0)
                _holes.AsSpan(at / 4096, (at + count + 4095) / 4096 - at / 4096).Clear();
            at += count;
            most -= count;
        }
    }

    private bool IsAligned(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        ulong all = position;
        foreach (var buffer in buffers)
            all |= (uint)buffer.Length | (ulong)buffer.Address;
        return all % (ulong)Alignment == 0;
    }
}
