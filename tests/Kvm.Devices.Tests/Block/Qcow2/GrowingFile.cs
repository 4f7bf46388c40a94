using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>What happened to a file: a write, or a flush that succeeded (no bytes).</summary>
/// <param name="Position">Where.</param>
/// <param name="Bytes">What was written; null for a flush.</param>
internal sealed record FileEvent(ulong Position, byte[]? Bytes);

/// <summary>
/// A file in memory that grows, fails where a test says, and remembers the order of all that was done to it, so that what a crash may leave can be
/// made: any of the writes since the last flush, whole, in parts or not at all.
/// </summary>
internal sealed class GrowingFile : IHostFile
{
    private const int Sector = 512;

    private readonly Lock _lock = new();
    private byte[] _bytes;
    private int _length;
    private int _calls;

    public GrowingFile(byte[]? content = null) => (_bytes, _length) = (content is null ? [] : [.. content], content?.Length ?? 0);

    /// <summary>Asked before each call, with its number, kind and bytes, as of <see cref="MemoryFile"/>; null lets it work.</summary>
    public Func<int, FileCall, long, HostFileResult?>? Inject { get; set; }

    /// <summary>Remembers events.</summary>
    public bool Records { get; init; }

    /// <summary>Everything that was done, in order.</summary>
    public List<FileEvent> Events { get; } = [];

    public int Calls => _calls;

    /// <summary>The most bytes it may have: no test makes it huge unawares.</summary>
    public int MostBytes { get; init; } = 64 << 20;

    public ulong Length => (ulong)_length;

    public bool IsReadOnly { get; init; }

    public int Alignment => 1;

    public bool Disposed { get; private set; }

    public byte[] ToArray() => _bytes[.._length];

    public void SetLength(int length)
    {
        Array.Clear(_bytes, Math.Min(length, _length), Math.Max(0, _length - length));
        _length = length;
    }

    public void SetContent(byte[] content) => (_bytes, _length) = ([.. content], content.Length);

    public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => Locked(FileCall.Read, position, buffers);

    public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) =>
        IsReadOnly ? new HostFileResult(0, HostFileError.Failed) : Locked(FileCall.Write, position, buffers);

    public HostFileError Flush()
    {
        if (Inject?.Invoke(_calls++, FileCall.Flush, 0) is { } injected && injected.Error != HostFileError.None)
            return injected.Error;
        if (Records)
            Events.Add(new FileEvent(0, null));
        return HostFileError.None;
    }

    public HostFileError Discard(ulong position, ulong length) => Locked(FileCall.Discard, position, length);

    public HostFileError WriteZeroes(ulong position, ulong length) => Locked(FileCall.WriteZeroes, position, length);

    public void Dispose() => Disposed = true;

    /// <summary>What the file may be after a crash that comes when so many events have happened: everything before the last flush, and some of the rest in any order.</summary>
    public byte[] AfterCrash(byte[] start, int events, Random random)
    {
        int flushed = events == 0 ? 0 : Events.FindLastIndex(events - 1, e => e.Bytes is null) + 1;
        var file = new GrowingFile(start);
        foreach (var written in Events.Take(flushed))
            file.Apply(written, 0, int.MaxValue);
        var open = Events.Skip(flushed).Take(events - flushed).ToArray();
        // All of it in order (the process was killed), or any of it (the host went down).
        if (random.Next(3) == 0)
        {
            foreach (var written in open)
                file.Apply(written, 0, int.MaxValue);
            return file.ToArray();
        }

        random.Shuffle(open);
        foreach (var written in open)
        {
            int sectors = (written.Bytes!.Length + Sector - 1) / Sector, from = random.Next(sectors + 1), to = random.Next(from, sectors + 1);
            if (random.Next(2) == 0)
                (from, to) = (0, sectors);
            if (random.Next(4) > 0)
                file.Apply(written, from * Sector, to * Sector);
        }

        return file.ToArray();
    }

    private void Apply(FileEvent written, int from, int to)
    {
        to = Math.Min(to, written.Bytes?.Length ?? 0);
        if (to <= from)
            return;
        Reach((int)written.Position + to);
        written.Bytes.AsSpan(from, to - from).CopyTo(_bytes.AsSpan((int)written.Position + from));
    }

    private void Reach(int length)
    {
        if (length > _bytes.Length)
            Array.Resize(ref _bytes, Math.Max(length, _bytes.Length * 2));
        _length = Math.Max(_length, length);
    }

    private HostFileError Locked(FileCall call, ulong position, ulong length)
    {
        lock (_lock)
            return Clear(call, position, length);
    }

    private HostFileError Clear(FileCall call, ulong position, ulong length)
    {
        if (Inject?.Invoke(_calls++, call, (long)length) is { } injected && injected.Error != HostFileError.None)
            return injected.Error;
        int end = (int)Math.Min(position + length, Length);
        if ((int)position < end)
        {
            _bytes.AsSpan((int)position, end - (int)position).Clear();
            if (Records)
                Events.Add(new FileEvent(position, new byte[end - (int)position]));
        }

        return HostFileError.None;
    }

    private HostFileResult Locked(FileCall call, ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        lock (_lock)
            return Transfer(call, position, buffers);
    }

    private HostFileResult Transfer(FileCall call, ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        long wanted = 0;
        foreach (var buffer in buffers)
            wanted += buffer.Length;
        long most = wanted;
        if (Inject?.Invoke(_calls++, call, wanted) is { } injected)
        {
            if (injected.Error != HostFileError.None)
                return injected;
            most = Math.Min(most, injected.Bytes);
        }

        if (call == FileCall.Read)
            most = position >= Length ? 0 : Math.Min(most, (long)(Length - position));
        else if (position + (ulong)most > (ulong)MostBytes)
            return new HostFileResult(0, HostFileError.NoSpace);
        else
            Reach((int)position + (int)most);
        int at = (int)Math.Min(position, int.MaxValue);
        long left = most;
        foreach (var buffer in buffers)
        {
            int count = (int)Math.Min(buffer.Length, left);
            if (call == FileCall.Read)
                _bytes.AsSpan(at, count).CopyTo(buffer.Span);
            else
                buffer.Span[..count].CopyTo(_bytes.AsSpan(at, count));
            (at, left) = (at + count, left - count);
        }

        if (call == FileCall.Write && Records)
            Events.Add(new FileEvent(position, _bytes[(int)position..at]));
        return new HostFileResult(most);
    }
}
