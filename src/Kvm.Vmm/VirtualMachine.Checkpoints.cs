using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Checkpoints;

namespace Kvm.Vmm;

/// <summary>Moments in memory that a machine goes back to (docs/snapshots.md, "Back").</summary>
public sealed partial class VirtualMachine
{
    private readonly List<ulong> _written = [];
    private CheckpointList? _checkpoints;
    private Timer? _checkpointTimer;

    /// <summary>The moments that <see cref="GoBack(long)"/> goes to, oldest first; none where none are kept.</summary>
    public IReadOnlyList<CheckpointInfo> Checkpoints
    {
        get
        {
            lock (_snapshots)
                return _checkpoints is null ? [] : [.. _checkpoints.All];
        }
    }

    /// <summary>
    /// Keeps moments of the machine in memory from now on, in the place of those that were kept: all of its memory once, then pages that are written. The guest stands
    /// still while they are copied. When the budget is used up the oldest two become one.
    /// </summary>
    /// <param name="options">How often, and how much.</param>
    /// <exception cref="VmmException">The machine has disks that its guest can write, which do not go back; its state cannot be saved; or its memory is more than the budget.</exception>
    public void KeepCheckpoints(CheckpointOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (_virtio.Disks.Any(disk => !disk.Config.ReadOnly))
            throw new VmmException(RestoreErrors.NoWayBack, "its guest can write to a disk, which would stay as it is: give it ,readonly");
        if (_config.Deterministic || _config.TestDevices)
            throw new VmmException(RestoreErrors.NotSaved, "checkpoints of a machine with --deterministic or --test-devices were to be kept");
        lock (_snapshots)
        {
            EndCheckpoints();
            StartDirtyTracking();
            _checkpoints = new CheckpointList(options.Budget);
            AddCheckpoint(isFirst: true);
            if (_checkpoints is null)
                throw new VmmException(RestoreErrors.NoWayBack, $"its memory in use is more than the budget of {options.Budget >> 20} MiB");
            if (options.Interval > TimeSpan.Zero)
                _checkpointTimer = new Timer(_ => OnCheckpointDue(), null, options.Interval, options.Interval);
        }
    }

    /// <summary>Takes one now, besides those of the interval.</summary>
    /// <exception cref="VmmException">None are kept, or the guest has ended.</exception>
    public CheckpointInfo TakeCheckpoint()
    {
        lock (_snapshots)
        {
            AddCheckpoint(isFirst: false);
            return _checkpoints?.All.Last() ?? throw new VmmException(RestoreErrors.NoWayBack, "its memory in use is more than the budget");
        }
    }

    /// <summary>Keeps none any more, and gives their memory back. Nothing happens where none are kept.</summary>
    public void EndCheckpoints()
    {
        lock (_snapshots)
        {
            _checkpointTimer?.Dispose();
            _checkpointTimer = null;
            if (_checkpoints is null)
                return;
            _checkpoints = null;
            // A snapshot that is being taken, and those based on one another, need what is noted; after the end nobody does.
            if (!_takesSnapshot && _taker is not { IsIncremental: true } && !_ended.Task.IsCompleted)
                StopDirtyTracking();
        }
    }

    /// <summary>
    /// Has the machine go on from a moment: memory, processors and devices are as they were, later moments are forgotten. Guest time goes back too where the engine can
    /// (<see cref="PauseStopsTime"/>); its guest is told that it is of another generation, and that connections by vsock have ended. A paused machine stays paused.
    /// </summary>
    /// <param name="number">Which.</param>
    /// <exception cref="VmmException">There is no such moment; or the host does not take the state, which ends the machine.</exception>
    public CheckpointInfo GoBack(long number)
    {
        lock (_snapshots)
        {
            var list = _checkpoints ?? throw new VmmException(RestoreErrors.NoWayBack, "no checkpoints are kept of it");
            if (list.All.All(moment => moment.Number != number))
                throw new VmmException(RestoreErrors.NoWayBack, $"there is no checkpoint {number}");
            ((ISnapshotSource)this).StandStill(() =>
            {
                CollectWritten();
                PutBack(list.GoBack(number, _ram.Memory, _written)!);
            });
            return list.All.Last();
        }
    }

    /// <summary>As the other, to the newest moment that is so long ago, or the oldest there is.</summary>
    /// <param name="ago">How long.</param>
    public CheckpointInfo GoBack(TimeSpan ago)
    {
        lock (_snapshots)
        {
            var until = DateTimeOffset.UtcNow - ago;
            var all = Checkpoints;
            return all.Count == 0 ? GoBack(0) : GoBack(all.LastOrDefault(moment => moment.Taken <= until, all[0]).Number);
        }
    }

    private void OnCheckpointDue()
    {
        // Whoever takes a snapshot just now has the list of written pages: the next one is soon.
        if (!_snapshots.TryEnter())
            return;
        try
        {
            if (_checkpoints is not null && !IsPaused && !_isDisposed && !_ended.Task.IsCompleted)
                AddCheckpoint(isFirst: false);
        }
        catch (VmmException)
        {
            // The guest has ended meanwhile.
        }
        finally
        {
            _snapshots.Exit();
        }
    }

    private void AddCheckpoint(bool isFirst)
    {
        var list = _checkpoints ?? throw new VmmException(RestoreErrors.NoWayBack, "no checkpoints are kept of it");
        bool fits = false;
        ((ISnapshotSource)this).StandStill(() =>
        {
            CollectWritten();
            fits = list.Add(_ram.Memory, isFirst ? AllPages() : _written, DateTimeOffset.UtcNow, SaveRecords());
        });
        if (!fits)
            EndCheckpoints();
    }

    /// <summary>Gets what was written since the last moment; snapshots that are based on one another get it too.</summary>
    private void CollectWritten()
    {
        _written.Clear();
        CollectDirty(_written);
        _taker?.AlsoWritten(_written);
    }

    private IEnumerable<ulong> AllPages() =>
        StateRecords.RamOf(_ram.Memory).SelectMany(range => Enumerable.Range(0, (int)(range.Size / Devices.Memory.GuestMemory.PageSize)).Select(page => range.Start + ((ulong)page * Devices.Memory.GuestMemory.PageSize)));

    private void PutBack(IReadOnlyList<Snapshots.Store.SnapshotRecord> state)
    {
        var report = new RestoreReport(allowDifferences: true);
        try
        {
            var records = new RecordSet(state, report);
            _ = StateRecords.ReadMachine(records, _config, report);
            var board = BoardRecords.Read(records, report);
            report.Check();
            PutIn(records, board!, report);
        }
        catch (VmmException e)
        {
            // Half of it is another moment's.
            EndWith(VmOutcome.Error, $"the guest could not go back: {e.Message}");
            throw;
        }
    }
}
