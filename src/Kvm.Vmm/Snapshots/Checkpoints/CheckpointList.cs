using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Checkpoints;

/// <summary>
/// Moments of a machine, oldest first: the oldest has all of its memory but pages of zeros, each other one the pages that were written since the one before. When they
/// take more than the budget the oldest two become one. Not thread-safe.
/// </summary>
/// <param name="budget">The most bytes of pages.</param>
internal sealed class CheckpointList(ulong budget)
{
    private const int PageSize = SnapshotFormat.PageSize;

    private readonly LinkedList<Moment> _moments = [];
    private long _last;

    /// <summary>Bytes of pages.</summary>
    public ulong Bytes { get; private set; }

    /// <summary>Those there are, oldest first.</summary>
    public IEnumerable<CheckpointInfo> All => _moments.Select(moment => moment.Info);

    /// <summary>Adds a moment. The first takes all pages, each other one those that were written since.</summary>
    /// <param name="memory">Memory of the moment.</param>
    /// <param name="pages">Addresses of the pages.</param>
    /// <param name="taken">When it is.</param>
    /// <param name="records">The state of the machine's parts.</param>
    /// <returns>False where even one moment is more than the budget allows: there is none then.</returns>
    public bool Add(GuestMemory memory, IEnumerable<ulong> pages, DateTimeOffset taken, IReadOnlyList<SnapshotRecord> records)
    {
        var moment = new Moment { Records = records };
        int count = 0;
        foreach (ulong page in pages)
        {
            if (Bytes + (ulong)moment.Bytes > budget && _moments.Count == 0)
                return false;
            if (!memory.TryReadOnlySlice(page, PageSize, out var content))
                continue;
            bool isZero = !content.ContainsAnyExcept((byte)0);
            count++;
            // The oldest has no pages of zeros.
            if (!isZero || _moments.Count > 0)
                moment.Set(page, isZero ? null : content.ToArray());
        }

        moment.Info = new CheckpointInfo(++_last, taken, count);
        Bytes += (ulong)moment.Bytes;
        _moments.AddLast(moment);
        while (Bytes > budget && _moments.Count > 1)
            MergeOldest();
        if (Bytes <= budget)
            return true;
        Clear();
        return false;
    }

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        _moments.Clear();
        Bytes = 0;
    }

    /// <summary>Puts memory back to what it was at a moment, and forgets those behind it.</summary>
    /// <param name="number">The moment's number.</param>
    /// <param name="memory">Memory as it is now.</param>
    /// <param name="written">Pages that were written since the newest moment.</param>
    /// <returns>The state of the machine's parts; null where there is no such moment, and nothing is changed.</returns>
    public IReadOnlyList<SnapshotRecord>? GoBack(long number, GuestMemory memory, IEnumerable<ulong> written)
    {
        var moment = _moments.Last;
        while (moment is not null && moment.Value.Info.Number != number)
            moment = moment.Previous;
        if (moment is null)
            return null;
        var changed = new HashSet<ulong>(written);
        while (_moments.Last != moment)
        {
            changed.UnionWith(_moments.Last!.Value.Pages.Keys);
            Bytes -= (ulong)_moments.Last.Value.Bytes;
            _moments.RemoveLast();
        }

        byte[] zeros = new byte[PageSize];
        foreach (ulong page in changed)
        {
            memory.TryWrite(page, ContentAt(moment, page) ?? zeros);
            memory.NotifyWritten(page, PageSize);
        }

        return moment.Value.Records;
    }

    private static byte[]? ContentAt(LinkedListNode<Moment> moment, ulong page)
    {
        for (var at = moment; at is not null; at = at.Previous)
        {
            if (at.Value.Pages.TryGetValue(page, out byte[]? content))
                return content;
        }

        return null;
    }

    /// <summary>The second has what the first has and it has not itself; its state stays its own.</summary>
    private void MergeOldest()
    {
        var oldest = _moments.First!.Value;
        var next = _moments.First.Next!.Value;
        Bytes -= (ulong)(oldest.Bytes + next.Bytes);
        foreach (var (page, content) in next.Pages)
            oldest.Set(page, content);
        foreach (ulong page in next.Pages.Keys)
        {
            if (oldest.Pages[page] is null)
                oldest.Pages.Remove(page);
        }

        (oldest.Info, oldest.Records) = (next.Info, next.Records);
        _moments.Remove(_moments.First.Next);
        Bytes += (ulong)oldest.Bytes;
    }

    private sealed class Moment
    {
        public CheckpointInfo Info { get; set; }

        public required IReadOnlyList<SnapshotRecord> Records { get; set; }

        /// <summary>Pages by their addresses; null is zeros.</summary>
        public Dictionary<ulong, byte[]?> Pages { get; } = [];

        public long Bytes { get; private set; }

        public void Set(ulong page, byte[]? content)
        {
            if (Pages.TryGetValue(page, out byte[]? before) && before is not null)
                Bytes -= PageSize;
            Pages[page] = content;
            Bytes += content is null ? 0 : PageSize;
        }
    }
}

/// <summary>A moment that a machine can go back to.</summary>
/// <param name="Number">What it is called: larger for later ones, never used again.</param>
/// <param name="Taken">When it was.</param>
/// <param name="Pages">Pages that were written since the one before, or of the first all that are in use.</param>
public readonly record struct CheckpointInfo(long Number, DateTimeOffset Taken, int Pages);

/// <summary>How checkpoints are kept.</summary>
/// <param name="Interval">How often one is taken; zero for only when it is asked for.</param>
/// <param name="Budget">The most bytes of memory they take.</param>
public sealed record CheckpointOptions(TimeSpan Interval, ulong Budget);
