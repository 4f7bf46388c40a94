using Kvm.Devices.Snapshot;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm;

/// <summary>Standing still and going on (docs/snapshots.md).</summary>
public sealed partial class VirtualMachine
{
    private readonly Lock _lifecycle = new();
    private bool _isDisposed;
    private bool _resumesAtStart;

    /// <summary>Whether the machine is paused.</summary>
    public bool IsPaused => _pause.IsPaused;

    /// <summary>
    /// Whether guest time stands still while the machine is paused. Where the host cannot move a vCPU's time stamp counter it jumps by the length of the pause
    /// when the guest goes on; the guest's wall clock is right then, and behind otherwise until the guest looks at its RTC.
    /// </summary>
    public bool PauseStopsTime => _engine.TimeStops;

    /// <summary>
    /// Makes the machine stand still: when it returns no vCPU is in the guest, nothing the devices began at the host is under way, and nothing
    /// but the caller changes guest memory until <see cref="Resume"/>. Nothing is lost: what the guest asked for and nobody has begun stays in its rings.
    /// Before <see cref="Start"/> the guest then waits at its first instruction. Nothing happens where it is paused or has ended.
    /// </summary>
    /// <remarks>
    /// Waits for accesses of vCPUs to devices (a console that takes nothing holds it up) and for what disks have begun. The time limit counts on; a debugger
    /// may stop and inspect the machine meanwhile, and what it lets go waits for <see cref="Resume"/>. Any thread but the machine's own.
    /// </remarks>
    public void Pause()
    {
        lock (_lifecycle)
        {
            _resumesAtStart = false;
            if (!IsPaused && !_isDisposed && !_ended.Task.IsCompleted)
                _pause.Begin();
        }
    }

    /// <summary>Lets a paused machine go on. Nothing happens where it is not. Any thread but the machine's own.</summary>
    public void Resume()
    {
        lock (_lifecycle)
            ResumeNow();
    }

    /// <summary>Takes the state of a paused machine out: memory is copied, and the machine may go on at once.</summary>
    /// <exception cref="InvalidOperationException">The machine is not paused.</exception>
    /// <exception cref="VmmException">Its state is not to be had: a deterministic machine, or one with devices for tests.</exception>
    public MachineSnapshot Save()
    {
        lock (_lifecycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            return new MachineSnapshot(EngineName, SaveRecords(), new MemoryCopy(_ram.Memory));
        }
    }

    /// <summary>
    /// Builds a machine that goes on from a state, under whichever engine <paramref name="config"/> says. <see cref="Start"/> lets it go on; <see cref="Pause"/>
    /// before that has it wait for <see cref="Resume"/>. Its guest is told that network links changed, that connections by vsock have ended, and that it is of another generation.
    /// </summary>
    /// <param name="config">The configuration it was saved with, or one that differs only in what the guest does not see; the kernel is not read.</param>
    /// <param name="host">Its surroundings.</param>
    /// <param name="snapshot">The state; it may be anybody's making.</param>
    /// <param name="options">What may be left aside; null: nothing.</param>
    /// <exception cref="VmmException">The configuration, the host or the state does not allow it; all that is lacking is named.</exception>
    public static VirtualMachine Restore(VmConfig config, VmHost host, MachineSnapshot snapshot, RestoreOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(host);
        ArgumentNullException.ThrowIfNull(snapshot);
        if (config.Deterministic || config.TestDevices)
            throw new VmmException(RestoreErrors.NotSaved, "a state was to be restored with --deterministic or --test-devices");
        var report = new RestoreReport(options?.AllowDifferences ?? false);
        var records = new RecordSet(snapshot.Records, report);
        string commandLine = StateRecords.ReadMachine(records, config, report);
        var board = BoardRecords.Read(records, report);
        report.Check();
        if (board!.Processors.Length != config.Cpus)
            throw new VmmException(RestoreErrors.BadState, "there are more or fewer processors than vCPUs");
        var machine = VmBuilder.Build(config with { Restored = board, IsClone = options is { IsClone: true } }, host, new RestoredParts(commandLine, snapshot.Memory));
        try
        {
            machine.GoOnFrom(records, board!, report);
            return machine;
        }
        catch
        {
            machine.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Notes which pages of guest memory are written from here on, by the guest, by devices or by KVM. Costs the first write to each page since
    /// <see cref="CollectDirty"/>; nothing before and after. Nothing happens where it is noted already. Any thread but the machine's own.
    /// </summary>
    /// <exception cref="VmmException">A deterministic machine.</exception>
    public void StartDirtyTracking()
    {
        lock (_lifecycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_engine.Dirty is null)
                StandStill(() => TrackDirty(true));
        }
    }

    /// <summary>Notes it no more. Any thread but the machine's own.</summary>
    public void StopDirtyTracking()
    {
        lock (_lifecycle)
        {
            if (_engine.Dirty is not null && !_isDisposed)
                StandStill(() => TrackDirty(false));
        }
    }

    /// <summary>
    /// Adds the addresses of pages that were written since tracking began or the last call, ascending, to a list: all whose writing was over when this returns. vCPUs
    /// leave the guest for a moment.
    /// </summary>
    /// <param name="pages">Guest-physical addresses, multiples of 4096; each once.</param>
    /// <exception cref="InvalidOperationException">Nothing is noted.</exception>
    public void CollectDirty(ICollection<ulong> pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        lock (_lifecycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            var dirty = _engine.Dirty ?? throw new InvalidOperationException("written pages are not noted: StartDirtyTracking");
            StandStill(() =>
            {
                _engine.HarvestDirty();
                foreach (var device in _virtio.Devices)
                    device.TellRings(dirty.Mark);
                dirty.Take(pages);
            });
        }
    }

    /// <summary>
    /// Writes memory and the vCPUs' registers of a machine that is paused or has ended as an ELF core file, at guest-physical addresses, for gdb and crash. Any thread but the machine's own.
    /// </summary>
    /// <param name="path">The file, replaced where it is there; only its owner may read it.</param>
    /// <exception cref="InvalidOperationException">The machine runs.</exception>
    /// <exception cref="IOException">The file cannot be written; nothing of it is left.</exception>
    public void WriteCore(string path)
    {
        lock (_lifecycle)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (!IsPaused && !_ended.Task.IsCompleted)
                throw new InvalidOperationException("the machine runs: pause it first");
            CoreFile.Write(path, _ram.Memory, [.. _vcpus.Select(vcpu =>
            {
                var state = new X86.State.ArchitecturalState();
                vcpu.Engine.SaveRegisters(state);
                return state;
            })]);
        }
    }

    private void TrackDirty(bool tracks)
    {
        if (_config.Deterministic || !_engine.TrackDirty(tracks))
            throw new VmmException(RestoreErrors.NotSaved, "pages that a deterministic machine writes were to be noted");
    }

    /// <summary>Does something while no vCPU is in the guest.</summary>
    private void StandStill(Action what)
    {
        if (IsPaused)
            what();
        else
            _pause.WhileStill(what);
    }

    /// <summary>The state of a paused machine's parts but memory.</summary>
    private List<SnapshotRecord> SaveRecords()
    {
        if (!IsPaused)
            throw new InvalidOperationException("the machine runs: pause it first");
        if (_config.TestDevices || _engine.SaveBoard() is not { } board)
            throw new VmmException(RestoreErrors.NotSaved, "a machine with --deterministic or --test-devices was to be saved");
        // Devices before chips: an interrupt that a device's host raises meanwhile comes once more rather than never.
        List<SnapshotRecord> records = [StateRecords.WriteMachine(_config, _ram.Memory, CommandLine)];
        foreach (var part in Parts)
            records.Add(StateRecords.Write(part));
        records.AddRange(BoardRecords.Write(board));
        return records;
    }

    private IEnumerable<IStateful> Parts => [.. _devices.Parts, .. _virtio.Parts];

    private void GoOnFrom(RecordSet records, BoardState board, RestoreReport report)
    {
        _pause.Begin();
        PutIn(records, board, report);
        _resumesAtStart = true;
    }

    /// <summary>Puts a state into the machine, which is paused.</summary>
    private void PutIn(RecordSet records, BoardState board, RestoreReport report)
    {
        StateRecords.Read(records, [.. Parts], report);
        foreach (string left in records.Left)
            report.Lacks($"a device for the state of {left}");
        report.Check();
        _engine.RestoreBoard(board, report);
        report.Check();
        // Others may go on from the same state: the guest's random numbers are to be other ones.
        Boot.GenerationId.Write(_ram.Memory, _config.Deterministic);
        _devices.TellGeneration();
    }

    private void ResumeNow()
    {
        _resumesAtStart = false;
        if (!IsPaused || _isDisposed)
            return;
        _pause.End();
        _monitor.Wake();
    }
}
