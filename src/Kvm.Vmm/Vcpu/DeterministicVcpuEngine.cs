using Kvm.Vmm.Boot;
using Kvm.X86.Engine;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Vcpu;

/// <summary>The first vCPU of a deterministic machine: its thread runs all of them in turn.</summary>
internal sealed class DeterministicVcpuEngine(DeterministicEngine engine, SoftProcessor processor) : IVcpuEngine
{
    private long _allocatedAtStart = -1;

    public string? Failure { get; private set; }

    /// <summary>What the host did meanwhile is left out: two runs tell the same.</summary>
    public long TotalExits => (long)processor.Halts;

    public long AllocatedBytes => _allocatedAtStart < 0 ? 0 : GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart;

    public long? Instructions => (long)processor.Instructions;

    public void SetBootState(BootState state) => SoftProcessorState.SetBootState(processor, state);

    public void Save(ArchitecturalState state) => processor.GetState(state);

    public void Restore(ArchitecturalState state) => processor.SetState(state);

    public void Inject(byte vector, uint? errorCode) => SoftProcessorState.Inject(processor, vector, errorCode);

    public void InjectNmi() => SoftProcessorState.InjectNmi(processor);

    public void EnterThread()
    {
        _ = engine.Runner;
        _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();
    }

    public VcpuStop Run()
    {
        var exit = engine.Runner.Run(out int stopped);
        if (exit == SoftExit.Kicked)
            return VcpuStop.Kicked;
        if (exit == SoftExit.Halted)
            return VcpuStop.Halted;
        var failed = engine.Processors[stopped];
        var state = new ArchitecturalState();
        failed.GetState(state);
        string text = RegisterDump.Describe(failed.Failure ?? (exit == SoftExit.Shutdown ? "the guest triple-faulted" : $"the software engine stopped: {exit}"), state);
        Failure = stopped == 0 ? text : $"vcpu{stopped}: {text}";
        return exit == SoftExit.Shutdown ? VcpuStop.TripleFault : VcpuStop.Failed;
    }

    public IReadOnlyList<TranslatedCode> ReadTranslations(int most) => processor.ReadTranslations(most);

    public void Kick() => engine.Runner.Kick();

    public bool IsStuck()
    {
        foreach (var one in engine.Processors)
        {
            if (!one.IsStuck)
                return false;
        }

        return true;
    }

    public void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions) => SoftVcpuEngine.AddHalts(processor, exits);

    public void Dispose() => processor.Dispose();
}

/// <summary>Another vCPU of a deterministic machine: its thread only waits for the end.</summary>
internal sealed class PassiveVcpuEngine(SoftProcessor processor) : IVcpuEngine
{
    private readonly AutoResetEvent _kicked = new(false);

    public string? Failure => null;

    public long TotalExits => (long)processor.Halts;

    public long AllocatedBytes => 0;

    public long? Instructions => (long)processor.Instructions;

    /// <summary>Only the first vCPU is a boot processor.</summary>
    public void SetBootState(BootState state) => throw new InvalidOperationException("an application processor starts by INIT and SIPI");

    public void Save(ArchitecturalState state) => processor.GetState(state);

    public void Restore(ArchitecturalState state) => processor.SetState(state);

    public void Inject(byte vector, uint? errorCode) => SoftProcessorState.Inject(processor, vector, errorCode);

    public void InjectNmi() => SoftProcessorState.InjectNmi(processor);

    public void EnterThread()
    {
    }

    public VcpuStop Run()
    {
        _kicked.WaitOne();
        return VcpuStop.Kicked;
    }

    public IReadOnlyList<TranslatedCode> ReadTranslations(int most) => processor.ReadTranslations(most);

    public void Kick() => _kicked.Set();

    /// <summary>The first vCPU answers for all.</summary>
    public bool IsStuck() => true;

    public void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions) => SoftVcpuEngine.AddHalts(processor, exits);

    public void Dispose()
    {
        processor.Dispose();
        _kicked.Dispose();
    }
}
