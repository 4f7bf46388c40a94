using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// A disk as it was at one moment, while its guest writes on: each block that is needed is read once, by whoever comes first: a thread of the backup's
/// (<see cref="MomentReader"/>), or the guest's own before it changes the block.
/// </summary>
/// <param name="reader">Who reads it.</param>
/// <param name="image">The disk.</param>
/// <param name="region">Its region in the store, which knows how long blocks are.</param>
/// <param name="number">The region's number.</param>
internal sealed class DiskMoment(MomentReader reader, WatchedImage image, SnapshotRegion region, int number)
{
    // Of a block: nobody needs it, or it was read; it is to be read; somebody reads it.
    private const byte Done = 0, Waits = 1, Reads = 2;

    // Changed under the reader's gate; looked at without it by a guest's threads, for which a block that is done stays so.
    private readonly byte[] _steps = new byte[region.ChunkCount];
    private long _next;

    /// <summary>The region's number.</summary>
    public int Number { get; } = number;

    /// <summary>Blocks that are needed.</summary>
    public long Needed { get; private set; }

    /// <summary>Says that a block is needed. Before the moment, by one thread.</summary>
    public void Need(long block)
    {
        if (_steps[block] == Waits)
            return;
        _steps[block] = Waits;
        Needed++;
    }

    /// <summary>Says that blocks are needed, as bits.</summary>
    public void Need(ulong[] blocks)
    {
        for (int i = 0; i < blocks.Length; i++)
        {
            for (ulong left = blocks[i]; left != 0; left &= left - 1)
                Need((i * 64L) + System.Numerics.BitOperations.TrailingZeroCount(left));
        }
    }

    /// <summary>Blocks are about to be changed: on the guest's threads.</summary>
    public void Changing(long first, long last)
    {
        for (long block = first; block <= last && block < _steps.Length; block++)
        {
            if (Volatile.Read(ref _steps[block]) != Done)
                reader.CopyAside(this, block);
        }
    }

    /// <summary>Bytes of a block in the store.</summary>
    public int LengthOf(long block) => region.ChunkLength(block);

    /// <summary>Takes the next block that is to be read. Under the gate.</summary>
    internal bool TryTake(out long block)
    {
        for (; _next < _steps.Length; _next++)
        {
            if (!TryTake(_next))
                continue;
            block = _next++;
            return true;
        }

        block = 0;
        return false;
    }

    /// <summary>Takes a block, if it is to be read still. Under the gate.</summary>
    internal bool TryTake(long block)
    {
        if (_steps[block] != Waits)
            return false;
        _steps[block] = Reads;
        return true;
    }

    /// <summary>Whether somebody reads a block just now. Under the gate.</summary>
    internal bool IsBeingRead(long block) => _steps[block] == Reads;

    /// <summary>A block was read. Under the gate.</summary>
    internal void SetDone(long block) => Volatile.Write(ref _steps[block], Done);

    /// <summary>Reads a block; why it cannot be, or null.</summary>
    internal VmmException? Read(long block, AlignedBuffer to)
    {
        ulong position = (ulong)block * SnapshotFormat.ChunkSize;
        int length = (int)Math.Min((ulong)LengthOf(block), image.Length - position);
        var part = to.Buffer.Slice(0, length);
        to.Buffer.Slice(length).Span.Clear();
        return image.Read(position, new ReadOnlySpan<HostBuffer>(in part)) == DiskResult.Done
            ? null
            : new VmmException(Storage.Tools.DiskToolErrors.ReadFailed, $"{region.Name}, at {position} of {image.Length} bytes");
    }
}
