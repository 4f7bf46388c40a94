using Kvm.Interop;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Observation;
using Kvm.X86.Engine;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Vcpu;

/// <summary>What all vCPUs of the software processor have in common, whoever's thread runs them. Port and MMIO accesses happen inside it, on the machine's buses.</summary>
internal abstract class SoftwareVcpu : IVcpuEngine
{
    private long _allocatedAtStart = -1;

    protected SoftwareVcpu(SoftProcessor processor)
    {
        Processor = processor;
        Observatory = new ExitObservatory(processor.Index);
        processor.Observer = Observatory;
    }

    public string? Failure { get; protected set; }

    public abstract long TotalExits { get; }

    public ExitObservatory Observatory { get; }

    public long AllocatedBytes => _allocatedAtStart < 0 ? 0 : GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart;

    public long? Instructions => (long)Processor.Instructions;

    /// <summary>The processor.</summary>
    protected SoftProcessor Processor { get; }

    public virtual void SetBootState(BootState state) => Change(registers => SoftBootState.Apply(state, registers));

    public void Save(ArchitecturalState state) => Processor.GetState(state);

    public virtual bool RunsOnOwnThread => true;

    public void SaveRegisters(ArchitecturalState state) => Processor.GetState(state);

    public void Restore(ArchitecturalState state) => Processor.SetState(state);

    public void Inject(byte vector, uint? errorCode) => Change(state =>
    {
        state.PendingVector = vector;
        state.PendingHasErrorCode = errorCode is not null;
        state.PendingErrorCode = errorCode ?? 0;
        state.Activity = ActivityState.Running;
    });

    /// <inheritdoc/>
    /// <remarks>It wakes a halted processor.</remarks>
    public void InjectNmi() => Change(state => state.NmiPending = true);

    public abstract void EnterThread();

    public abstract VcpuStop Run();

    public abstract VcpuStop Step(int vcpu);

    public virtual (int Vcpu, DebugHit Hit) Hit => (Processor.Index, Processor.Hit);

    /// <inheritdoc/>
    /// <remarks>This engine stops everywhere.</remarks>
    public string? WhyNot(in DebugPoint point) => null;

    public string? WhyNoStep() => null;

    public void SetDebugPoints(IReadOnlyList<DebugPoint> points) => Processor.SetDebugPoints([.. points]);

    public abstract void Kick();

    public virtual bool IsStuck() => Processor.IsStuck;

    public IReadOnlyList<TranslatedCode> ReadTranslations(int most) => Processor.ReadTranslations(most);

    /// <summary>Adds accesses to devices and the processor's halts to the report's table of exits.</summary>
    public void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions)
    {
        Observatory.Counts.AddTo(exits, static reason => ExitNames.Of((KvmExit)reason));
        const string halts = "hlt";
        if (Processor.Halts == 0)
            return;
        exits.TryGetValue(halts, out long before);
        exits[halts] = before + (long)Processor.Halts;
    }

    public virtual void Dispose() => Processor.Dispose();

    /// <summary>From here on what the thread allocates counts.</summary>
    protected void StartCounting() => _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();

    /// <summary>Why <paramref name="stopped"/> cannot go on, for people, and what that is for the machine.</summary>
    protected static VcpuStop Describe(SoftProcessor stopped, SoftExit exit, out string text)
    {
        bool shutdown = exit == SoftExit.Shutdown;
        text = RegisterDump.Describe(stopped.Failure ?? (shutdown ? "the guest triple-faulted" : $"the software engine stopped: {exit}"), stopped.GetState);
        return shutdown ? VcpuStop.TripleFault : VcpuStop.Failed;
    }

    private void Change(Action<ArchitecturalState> change)
    {
        var state = new ArchitecturalState();
        Processor.GetState(state);
        change(state);
        Processor.SetState(state);
    }
}
