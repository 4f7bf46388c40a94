using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>Who is told of each change of a disk before it is made, on the thread that makes it; it may make that wait. Must not throw.</summary>
public interface IChangeWatcher
{
    /// <summary>A range is about to be changed: written, discarded, made zeros. Any thread, several at once.</summary>
    /// <param name="position">First byte.</param>
    /// <param name="length">Bytes.</param>
    void Changing(ulong position, ulong length);
}

/// <summary>
/// An image whose changes somebody may be told of before they are made, and in whose place another one of the same content may be put, both while nothing is asked
/// of it. Costs a look at a field for each request where nobody watches.
/// </summary>
public sealed class WatchedImage : ImageDecorator
{
    private IChangeWatcher? _watcher;

    /// <summary>Takes an image over.</summary>
    /// <param name="inner">The image; disposed with this, unless it is replaced before.</param>
    public WatchedImage(IDiskImage inner) : base(inner)
    {
    }

    /// <summary>The image that is asked.</summary>
    public IDiskImage Current => Inner;

    /// <summary>Who is told; null for nobody. Set while nothing is asked of the image: what is asked later is told.</summary>
    public IChangeWatcher? Watcher
    {
        get => Volatile.Read(ref _watcher);
        set => Volatile.Write(ref _watcher, value);
    }

    /// <summary>Puts an image of the same content in the place of the one there is, which is the caller's from then on. While nothing is asked, of an image without queues.</summary>
    /// <param name="with">The other one, of the same length; disposed with this.</param>
    public void Replace(IDiskImage with)
    {
        ArgumentNullException.ThrowIfNull(with);
        if (with.Length != Length || with.IsReadOnly != IsReadOnly)
            throw new ArgumentException("the image is of another length, or only for reading", nameof(with));
        Inner = with;
    }

    /// <inheritdoc/>
    public override DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        if (Watcher is { } watcher)
            watcher.Changing(position, LengthOf(buffers));
        return Inner.Write(position, buffers);
    }

    /// <inheritdoc/>
    public override DiskResult Discard(ulong position, ulong length)
    {
        Watcher?.Changing(position, length);
        return Inner.Discard(position, length);
    }

    /// <inheritdoc/>
    public override DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap)
    {
        Watcher?.Changing(position, length);
        return Inner.WriteZeroes(position, length, mayUnmap);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<IDiskQueue> OpenQueues(int count, int depth) => [.. Inner.OpenQueues(count, depth).Select(queue => new Queue(this, queue))];

    private static ulong LengthOf(ReadOnlySpan<HostBuffer> buffers)
    {
        ulong length = 0;
        foreach (ref readonly var buffer in buffers)
            length += (ulong)buffer.Length;
        return length;
    }

    /// <summary>A queue of the image's, by which changes come too.</summary>
    private sealed class Queue(WatchedImage image, IDiskQueue inner) : IDiskQueue
    {
        public int UnderWay => inner.UnderWay;

        public bool HasEnded => inner.HasEnded;

        public void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers) => inner.Read(tag, position, buffers);

        public void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable)
        {
            if (image.Watcher is { } watcher)
                watcher.Changing(position, LengthOf(buffers.Span));
            inner.Write(tag, position, buffers, durable);
        }

        public void Flush(int tag) => inner.Flush(tag);

        public void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable)
        {
            Tell(ranges.Span);
            inner.Discard(tag, ranges, durable);
        }

        public void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable)
        {
            Tell(ranges.Span);
            inner.WriteZeroes(tag, ranges, durable);
        }

        public bool TryTake(out DiskCompletion completion) => inner.TryTake(out completion);

        public void Wait() => inner.Wait();

        public void Abandon() => inner.Abandon();

        public void Mute() => inner.Mute();

        public bool Unmute() => inner.Unmute();

        public void Dispose() => inner.Dispose();

        private void Tell(ReadOnlySpan<DiskRange> ranges)
        {
            if (image.Watcher is not { } watcher)
                return;
            foreach (ref readonly var range in ranges)
                watcher.Changing(range.Position, range.Length);
        }
    }
}
