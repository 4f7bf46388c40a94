using Kvm.Vmm.Boot;
using Kvm.Vmm.Console;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>Why an engine handed a vCPU back to its thread.</summary>
internal enum VcpuStop
{
    /// <summary><see cref="IVcpuEngine.Kick"/> was called: look at the requests and go on.</summary>
    Kicked,

    /// <summary>A triple fault shut the vCPU down.</summary>
    TripleFault,

    /// <summary>The vCPU halted with interrupts off.</summary>
    Halted,

    /// <summary>The engine cannot go on; <see cref="IVcpuEngine.Failure"/> says why.</summary>
    Failed,

    /// <summary>A debugger's point was reached, or its step made: <see cref="IVcpuDebug.Hit"/>.</summary>
    Debug,
}

/// <summary>
/// The narrow seam between the machine and what runs its instructions: KVM, or the processor in software. Port and MMIO
/// accesses do not come through it: an engine performs them on the machine's buses itself.
/// </summary>
/// <remarks>
/// All members are called on the vCPU's own thread, except <see cref="Kick"/>, which any thread may call, and the
/// counters, which any thread may read.
/// </remarks>
internal interface IVcpuEngine : IVcpuDebug, IDisposable
{
    /// <summary>Sets the registers a boot processor starts with. Application processors wait for INIT and SIPI instead.</summary>
    void SetBootState(BootState state);

    /// <summary>Prepares the calling thread, which will be the only one to call <see cref="Run"/>.</summary>
    void EnterThread();

    /// <summary>Runs the guest until something has to be decided outside.</summary>
    VcpuStop Run();

    /// <summary>Takes the processor's whole state out: registers, extended state, MSRs, pending events. The interrupt chips' is not part of it.</summary>
    void Save(ArchitecturalState state);

    /// <summary>True if <see cref="Run"/> runs this vCPU and not another one's thread does.</summary>
    bool RunsOnOwnThread => true;

    /// <summary>Takes out general registers, RIP, flags, segments, control registers and EFER; the rest of <paramref name="state"/> may change or not. Cheap; also while an exit is dealt with.</summary>
    void SaveRegisters(ArchitecturalState state);

    /// <summary>Puts a state in that this engine or another one saved; the next <see cref="Run"/> goes on from it.</summary>
    void Restore(ArchitecturalState state);

    /// <summary>Delivers an exception (vector 0 to 31) before the next instruction.</summary>
    void Inject(byte vector, uint? errorCode);

    /// <summary>Raises the vCPU's NMI.</summary>
    void InjectNmi();

    /// <summary>Makes <see cref="Run"/> return <see cref="VcpuStop.Kicked"/> soon, or at once when it is next called.</summary>
    void Kick();

    /// <summary>True if nothing but NMI, INIT or a reset could wake the vCPU: halted with interrupts off, or never started.</summary>
    bool IsStuck();

    /// <summary>What went wrong, for people, after <see cref="VcpuStop.Failed"/> or <see cref="VcpuStop.TripleFault"/>.</summary>
    string? Failure { get; }

    /// <summary>Exits so far.</summary>
    long TotalExits { get; }

    /// <summary>What the vCPU left the guest for, counted and timed.</summary>
    Observation.ExitObservatory Observatory { get; }

    /// <summary>Adds exit counts by reason and completed instructions by mnemonic to the report's tables.</summary>
    void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions);

    /// <summary>After this many exits everything that is made once has been made.</summary>
    const int WarmUpExits = 100;

    /// <summary>Managed bytes the calling thread has allocated since <see cref="WarmUpExits"/>; zero is promised.</summary>
    long AllocatedBytes { get; }

    /// <summary>Blocks whose translations were executed most, where the engine translates and keeps that; while the vCPU does not run.</summary>
    /// <param name="most">Blocks at most.</param>
    IReadOnlyList<X86.Translate.TranslatedCode> ReadTranslations(int most) => [];

    /// <summary>Tells the guest of time in which its vCPU could have run and was held back, where the engine has a way; while the vCPU does not run.</summary>
    /// <param name="nanoseconds">How long; more than 0.</param>
    void AddStealTime(long nanoseconds)
    {
    }

    /// <summary>Retired guest instructions, where the engine counts them.</summary>
    long? Instructions { get; }
}

/// <summary>What runs the vCPUs of one machine and carries its interrupts.</summary>
internal interface IEngine : IDisposable
{
    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    string Name { get; }

    /// <summary>The line of a global system interrupt, 0 to 23.</summary>
    Devices.Interrupts.IInterruptLine Line(uint gsi);

    /// <summary>Where message-signalled interrupts go.</summary>
    Devices.Interrupts.IMsiSink Msi { get; }

    /// <summary>The time and timers of devices: the host's, or the guest's where runs are to repeat.</summary>
    TimeProvider Time { get; }

    /// <summary>What two equal runs have in common, after the run; null where runs do not repeat.</summary>
    Reporting.DeterminismReport? Determinism => null;

    /// <summary>How addresses were translated, after the run; null where that is the host's business.</summary>
    Reporting.PagingReport? Paging => null;

    /// <summary>Notifications that do not end a run, or null where the engine has none.</summary>
    Virtio.IDoorbells? Doorbells => null;

    /// <summary>Begins to keep the past of a machine that has not begun to run; null where runs do not repeat.</summary>
    /// <param name="devices">Each device with state.</param>
    /// <param name="console">Where the guest's output goes.</param>
    /// <param name="budget">Bytes for copies of pages.</param>
    Debugging.History.MachineHistory? KeepHistory(IReadOnlyList<Devices.Snapshot.IStateful> devices, ConsoleWatcher console, long budget) => null;

    /// <summary>Whether the first vCPU's thread runs all vCPUs.</summary>
    bool OneThread => false;

    /// <summary>The machine stands still, or goes on: guest time with it, where it is the engine's. While no vCPU runs.</summary>
    void Hold(bool held, bool runs)
    {
    }

    /// <summary>Whether guest time stands still between <see cref="StopTime"/> and <see cref="ResumeTime"/>; else it jumps.</summary>
    bool TimeStops => true;

    /// <summary>A pause begins: guest time stops where the engine can. While no vCPU runs, after <see cref="Hold"/>.</summary>
    void StopTime()
    {
    }

    /// <summary>A pause ends: guest time goes on from where it was. While no vCPU runs, before <see cref="Hold"/>.</summary>
    void ResumeTime()
    {
    }

    /// <summary>No timer of the engine fires any more: before its vCPUs are given back, which it would interrupt.</summary>
    void Silence()
    {
    }

    /// <summary>Pages written since somebody last took them, where that is noted (<see cref="TrackDirty"/>).</summary>
    X86.Paging.DirtyPages? Dirty => null;

    /// <summary>Notes written pages from here on, or no more; while no vCPU is in the guest. False where the engine cannot.</summary>
    bool TrackDirty(bool tracks) => false;

    /// <summary>Puts into <see cref="Dirty"/> what was written so far, and has later writes noted again; while no vCPU is in the guest.</summary>
    void HarvestDirty()
    {
    }

    /// <summary>Takes processors, chips and clocks out, of a paused machine; null where the engine's state is not taken out.</summary>
    Snapshots.BoardState? SaveBoard() => null;

    /// <summary>Puts processors, chips and clocks in, of a machine that is paused and has not run, with memory and devices restored.</summary>
    /// <param name="board">As many processors as the machine has.</param>
    /// <param name="report">Told what the engine cannot.</param>
    void RestoreBoard(Snapshots.BoardState board, Snapshots.RestoreReport report) => throw new InvalidOperationException("this engine's state is not put in");

    /// <summary>A vCPU's local APIC as <c>struct kvm_lapic_state</c> has it; while it does not run. False where it cannot be read.</summary>
    bool TryReadLapic(int index, Span<byte> page) => false;

    /// <summary>Makes vCPU <paramref name="index"/>.</summary>
    IVcpuEngine CreateVcpu(int index);
}
