using Kvm.Devices.Block;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// Notes which blocks of a running machine's disk are changed, for the next backup, and while one is made has what it still needs copied before it is changed. Blocks
/// are the chunks of a store. It lives as long as the machine: when that ends nothing is known, and the next backup reads all.
/// </summary>
/// <param name="image">The disk; from the first backup on each of its changes is told here.</param>
internal sealed class DiskWatch(WatchedImage image) : IChangeWatcher
{
    private ulong[] _changed = Words(image.Length);
    private volatile DiskMoment? _moment;

    /// <summary>The backup that the changes are since; null where none was finished.</summary>
    public BackupBase? Base { get; set; }

    /// <inheritdoc/>
    public void Changing(ulong position, ulong length)
    {
        if (length == 0)
            return;
        long last = (long)((position + length - 1) / Store.SnapshotFormat.ChunkSize);
        // The set is exchanged only while nothing is asked of the disk.
        ulong[] changed = Volatile.Read(ref _changed);
        for (long block = (long)(position / Store.SnapshotFormat.ChunkSize); block <= last; block++)
        {
            ref ulong word = ref changed[block / 64];
            ulong bit = 1UL << (int)(block % 64);
            if ((Volatile.Read(ref word) & bit) == 0)
                Interlocked.Or(ref word, bit);
        }

        _moment?.Changing((long)(position / Store.SnapshotFormat.ChunkSize), last);
    }

    /// <summary>Whether a block was changed since the last <see cref="Begin"/>.</summary>
    public bool IsChanged(long block) => (Volatile.Read(ref _changed[block / 64]) >> (int)(block % 64) & 1) != 0;

    /// <summary>Begins a moment: what is changed from here on is noted anew, and what the moment needs is copied before. While nothing is asked of the disk.</summary>
    /// <returns>What was changed until now.</returns>
    public ulong[] Begin(DiskMoment moment)
    {
        ulong[] before = _changed;
        Volatile.Write(ref _changed, Words(image.Length));
        _moment = moment;
        return before;
    }

    /// <summary>Ends the moment: nothing is copied any more.</summary>
    public void End() => _moment = null;

    /// <summary>What was changed before counts as changed still: there is no backup of it. Any thread.</summary>
    public void Add(ulong[] before)
    {
        ulong[] changed = Volatile.Read(ref _changed);
        for (int i = 0; i < before.Length; i++)
            Interlocked.Or(ref changed[i], before[i]);
    }

    private static ulong[] Words(ulong length) => new ulong[(length / Store.SnapshotFormat.ChunkSize / 64) + 1];
}

/// <summary>A finished backup.</summary>
/// <param name="Store">Its store's folder.</param>
/// <param name="Name">What it is called.</param>
/// <param name="Identity">What it is called for ever.</param>
internal sealed record BackupBase(string Store, string Name, string Identity);
