using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>An image that is another one but for what a subclass changes; takes the other one over.</summary>
public abstract class ImageDecorator : IDiskImage
{
    /// <summary>Takes an image over.</summary>
    /// <param name="inner">The image; disposed with this.</param>
    protected ImageDecorator(IDiskImage inner)
    {
        ArgumentNullException.ThrowIfNull(inner);
        Inner = inner;
    }

    /// <inheritdoc/>
    public ulong Length => Inner.Length;

    /// <inheritdoc/>
    public bool IsReadOnly => Inner.IsReadOnly;

    /// <inheritdoc/>
    public int BlockSize => Inner.BlockSize;

    /// <inheritdoc/>
    public int PhysicalBlockSize => Inner.PhysicalBlockSize;

    /// <inheritdoc/>
    public bool CanDiscard => Inner.CanDiscard;

    /// <inheritdoc/>
    public int DiscardAlignment => Inner.DiscardAlignment;

    /// <inheritdoc/>
    public uint MaxZeroes => Inner.MaxZeroes;

    /// <inheritdoc/>
    public virtual IReadOnlyList<(string Name, long Value)> Counters => Inner.Counters;

    /// <summary>The other image.</summary>
    protected IDiskImage Inner { get; private protected set; }

    /// <inheritdoc/>
    public virtual DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers) => Inner.Read(position, buffers);

    /// <inheritdoc/>
    public virtual DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers) => Inner.Write(position, buffers);

    /// <inheritdoc/>
    public virtual DiskResult Flush() => Inner.Flush();

    /// <inheritdoc/>
    public virtual DiskResult Discard(ulong position, ulong length) => Inner.Discard(position, length);

    /// <inheritdoc/>
    public virtual DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap) => Inner.WriteZeroes(position, length, mayUnmap);

    /// <inheritdoc/>
    public virtual IReadOnlyList<IDiskQueue> OpenQueues(int count, int depth) => Inner.OpenQueues(count, depth);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Disposes of the other image; a subclass first of what it has of its own.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing) => Inner.Dispose();
}
