namespace Kvm.Devices.Block.Scheduling;

/// <summary>In which order a disk's requests reach the host.</summary>
public enum IoDiscipline
{
    /// <summary>As they come, all at once.</summary>
    None,

    /// <summary>Few at a time, those that wait sorted and joined where they are adjacent; none waits long for the sweep to come round.</summary>
    Deadline,

    /// <summary>As they come, in turns with the other disks on the same disk of the host, by weight.</summary>
    Fair,
}

/// <summary>An image whose queues put their requests in an order of a discipline's. What is asked of the image itself goes at once.</summary>
public sealed class ScheduledImage : ImageDecorator
{
    /// <summary>The largest weight of a disk.</summary>
    public const int MaxWeight = 1000;

    // A disk's weight is shared among its queues: what divides must be large.
    private const int WeightUnit = FairShare.MaxWeight / MaxWeight;

    private readonly IoDiscipline _discipline;
    private readonly HostDisk _disk;
    private readonly int _weight;
    private readonly TimeProvider _time;
    private ScheduledQueue[] _queues = [];

    /// <summary>Takes an image over.</summary>
    /// <param name="inner">The image; disposed with this.</param>
    /// <param name="discipline">The order.</param>
    /// <param name="disk">The disk of the host it is on; its users share it.</param>
    /// <param name="weight">With <see cref="IoDiscipline.Fair"/> the share of this disk, 1 to <see cref="MaxWeight"/>.</param>
    /// <param name="time">The clock.</param>
    public ScheduledImage(IDiskImage inner, IoDiscipline discipline, HostDisk disk, int weight, TimeProvider time) : base(inner)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(time);
        ArgumentOutOfRangeException.ThrowIfLessThan(weight, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(weight, MaxWeight);
        (_discipline, _disk, _weight, _time) = (discipline, disk, weight, time);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, long Value)> Counters =>
        [.. Inner.Counters, ("joined", _queues.Sum(q => q.Joined)), ("expired", _queues.Sum(q => q.Expired)), ("waitedForDisk", _queues.Sum(q => q.Waited))];

    /// <summary>Says how to wake whoever runs a queue. Once, after <see cref="OpenQueues"/>.</summary>
    /// <param name="wakerOf">Gives for a queue's number what wakes it, on any thread.</param>
    public void WakeBy(Func<int, Action> wakerOf)
    {
        ArgumentNullException.ThrowIfNull(wakerOf);
        for (int i = 0; i < _queues.Length; i++)
            _queues[i].WakeBy(wakerOf(i));
    }

    /// <inheritdoc/>
    public override IReadOnlyList<IDiskQueue> OpenQueues(int count, int depth)
    {
        var inner = Inner.OpenQueues(count, depth);
        if (_discipline == IoDiscipline.None)
            return inner;
        int weight = Math.Max(1, _weight * WeightUnit / Math.Max(count, 1));
        return _queues = [.. inner.Select(queue => new ScheduledQueue(queue, depth, _discipline == IoDiscipline.Fair ? _disk.Join(weight) : null, _time))];
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // The queues behind them are the inner image's; none takes up anything again.
        foreach (var queue in _queues)
            queue.Dispose();
        base.Dispose(disposing);
    }
}
