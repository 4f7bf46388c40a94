using System.Diagnostics;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Lazy;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Vmm;

/// <summary>Snapshots in stores (docs/snapshots.md).</summary>
public sealed partial class VirtualMachine : ISnapshotSource
{
    private readonly Lock _snapshots = new();
    private SnapshotTaker? _taker;
    private bool _takesSnapshot;

    /// <summary>
    /// Takes a snapshot of a running or paused machine into a store. Memory is packed while the guest runs; it stands still only for what it has written last. One
    /// at a time. Any thread but the machine's own.
    /// </summary>
    /// <param name="store">Where it goes.</param>
    /// <param name="name">What it is called.</param>
    /// <param name="options">How; null: all of it, by itself.</param>
    /// <exception cref="VmmException">It cannot be written, its name is taken, the machine's state not be saved, or another one of it is being taken: nothing of it is left, and the machine runs on.</exception>
    public SnapshotTaken TakeSnapshot(SnapshotStore store, string name, SnapshotTakeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(name);
        // The machine's end waits for one that is under way.
        if (!_snapshots.TryEnter())
            throw new VmmException(RestoreErrors.Busy, $"{name} was to be made while another snapshot or backup of it is");
        try
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_config.Deterministic || (_config.TestDevices && options is not { Memory: false }))
                throw new VmmException(RestoreErrors.NotSaved, "a machine with --deterministic or --test-devices was to be saved");
            _takesSnapshot = true;
            return (_taker ??= new SnapshotTaker(_ram.Memory, this)).Take(store, name, options ?? new SnapshotTakeOptions());
        }
        finally
        {
            _takesSnapshot = false;
            _snapshots.Exit();
        }
    }

    /// <summary>
    /// Backs a running or paused machine's disks up into a store, as they are at one moment, and its memory too if that is asked for. Of a disk that was backed up into
    /// this store before since the machine began only what was changed is read. The guest stands still for the moment alone. As <see cref="TakeSnapshot"/>.
    /// </summary>
    /// <param name="store">Where it goes.</param>
    /// <param name="name">What it is of: the time becomes part of its name.</param>
    /// <param name="options">How: what is not of disks.</param>
    /// <param name="memory">With memory and state, from which a machine goes on.</param>
    /// <exception cref="VmmException">It cannot be written, a disk not be read, or the machine's state not be saved: nothing of it is left, and the machine runs on.</exception>
    public SnapshotTaken TakeBackup(SnapshotStore store, string name, SnapshotTakeOptions? options = null, bool memory = false)
    {
        var now = DateTimeOffset.UtcNow;
        if (_virtio.Disks.Count == 0 && !memory)
            throw new VmmException(SnapshotErrors.NotFound, $"{name} has no disks, and its memory was not asked for");
        return TakeSnapshot(store, Kvm.Vmm.Snapshots.Backup.BackupName.Of(name, now), (options ?? new SnapshotTakeOptions()) with
        {
            Purpose = SnapshotPurpose.Backup,
            Incremental = false,
            DiskContents = true,
            Memory = memory,
            Created = now,
        });
    }

    /// <summary>Builds a machine that goes on from a stored snapshot, all of whose memory is read and verified before it is used. As <see cref="Restore(VmConfig, VmHost, MachineSnapshot, RestoreOptions?)"/>.</summary>
    /// <param name="config">The configuration, such as <see cref="ConfigOf(SnapshotReader)"/> gives.</param>
    /// <param name="host">Its surroundings.</param>
    /// <param name="reader">The snapshot; stays the caller's.</param>
    /// <param name="options">How, and what may be left aside; null: all memory at once, and nothing.</param>
    /// <exception cref="VmmException">The configuration, the host, the snapshot or its disks do not allow it; all that is lacking is named.</exception>
    public static VirtualMachine Restore(VmConfig config, VmHost host, SnapshotReader reader, RestoreOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentNullException.ThrowIfNull(host);
        if (options is not { IsClone: true })
            PutDisksBack(config, host, reader, options);
        var eager = new StoredMemory(reader, Math.Max(1, Math.Min(4, Environment.ProcessorCount)));
        IMemoryImage memory = options?.Pager is { } pager && reader.Regions.All(StoredMemory.IsMemory) ? new LazyMemory(reader, eager, pager) : eager;
        return Restore(config, host, new MachineSnapshot(reader.Content.Engine, RecordsOf(reader.Content), memory), options);
    }

    /// <summary>Refuses disks that have moved on, or puts them back where that is asked for and can be done.</summary>
    private static void PutDisksBack(VmConfig config, VmHost host, SnapshotReader reader, RestoreOptions? options)
    {
        var report = new RestoreReport(options?.AllowDifferences ?? false);
        var returning = options is { PutDisksBack: true } ? DiskReturn.Find(reader, config, report) : [];
        DiskGenerations.Check([.. reader.Content.Disks.Where(disk => returning.All(r => r.Name != disk.Name))], config, report);
        report.Check();
        foreach (var disk in returning)
        {
            string? until = DiskReturn.PutBack(disk, reader.Name);
            host.Notice?.Invoke($"{disk.Name} is as it was{(until is null ? "" : $"; what it was until now is in {VisibleText.Quote(until)}")}");
        }
    }

    /// <summary>Builds a machine that goes on from a template, whose memory it shares until it is written. As <see cref="Restore(VmConfig, VmHost, MachineSnapshot, RestoreOptions?)"/>.</summary>
    /// <param name="config">The configuration, such as <see cref="ConfigOf(Template)"/> gives.</param>
    /// <param name="host">Its surroundings.</param>
    /// <param name="template">The template; stays the caller's, and may be disposed of when this returns.</param>
    /// <param name="options">How, and what may be left aside; null: nothing.</param>
    /// <exception cref="VmmException">The configuration, the host or the template's disks do not allow it; all that is lacking is named.</exception>
    public static VirtualMachine Restore(VmConfig config, VmHost host, Template template, RestoreOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(template);
        if (options is not { IsClone: true })
        {
            var report = new RestoreReport(options?.AllowDifferences ?? false);
            DiskGenerations.Check(template.Content.Disks, config, report);
            report.Check();
        }

        return Restore(config, host, new MachineSnapshot(template.Content.Engine, RecordsOf(template.Content), template), options);
    }

    /// <summary>The configuration a template was made with.</summary>
    /// <exception cref="VmmException">It has none that is understood.</exception>
    public static RunSettings ConfigOf(Template template)
    {
        ArgumentNullException.ThrowIfNull(template);
        return ConfigFile.Parse(template.Content.Machine.Span, template.Name);
    }

    /// <summary>The configuration a stored snapshot was taken with.</summary>
    /// <exception cref="VmmException">The snapshot has none that is understood.</exception>
    public static RunSettings ConfigOf(SnapshotReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        return ConfigFile.Parse(reader.Content.Machine.Span, reader.Name);
    }

    /// <summary>The state of a machine's parts, without what is told of disks that are kept.</summary>
    private static SnapshotRecord[] RecordsOf(SnapshotContent content) => [.. content.Records.Where(record => record.Name != KeptDisk.RecordName)];

    /// <inheritdoc/>
    void ISnapshotSource.CollectDirty(ICollection<ulong> pages)
    {
        if (_checkpoints is null)
        {
            CollectDirty(pages);
            return;
        }

        // What is taken out of the list is a moment's too.
        AddCheckpoint(isFirst: false);
        _written.ForEach(pages.Add);
    }

    /// <inheritdoc/>
    void ISnapshotSource.StopDirtyTracking()
    {
        if (_checkpoints is null)
            StopDirtyTracking();
    }

    /// <inheritdoc/>
    TimeSpan ISnapshotSource.StandStill(Action what)
    {
        lock (_lifecycle)
        {
            if (_isDisposed || _ended.Task.IsCompleted)
                throw new VmmException(RestoreErrors.NotSaved, "the guest has ended meanwhile");
            bool pauses = !IsPaused;
            long began = Stopwatch.GetTimestamp();
            if (pauses)
                _pause.Begin();
            try
            {
                what();
            }
            finally
            {
                if (pauses)
                    _pause.End();
            }

            return Stopwatch.GetElapsedTime(began);
        }
    }

    /// <inheritdoc/>
    IReadOnlyList<MachineDisk> ISnapshotSource.Disks => _virtio.Disks;

    /// <inheritdoc/>
    SnapshotContent ISnapshotSource.Content(bool state) => new()
    {
        Machine = System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(new RunSettings { Machine = _config with { Restored = null, IsClone = false } })),
        Engine = EngineName,
        Producer = "kvmsharp",
        Records = state ? SaveRecords() : [],
        Disks = DiskGenerations.Of(_config),
    };
}
