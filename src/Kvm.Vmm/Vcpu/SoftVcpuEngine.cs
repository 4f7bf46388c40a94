using Kvm.Vmm.Boot;
using Kvm.X86.Engine;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Vcpu;

/// <summary>A vCPU run by the software processor. Port and MMIO accesses happen inside it, on the machine's buses.</summary>
internal sealed class SoftVcpuEngine(SoftProcessor processor, Action startTime) : IVcpuEngine
{
    private long _allocatedAtStart = -1;
    private long _returns;

    public string? Failure { get; private set; }

    public long TotalExits => _returns;

    public long AllocatedBytes => _allocatedAtStart < 0 ? 0 : GC.GetAllocatedBytesForCurrentThread() - _allocatedAtStart;

    public long? Instructions => (long)processor.Instructions;

    public void SetBootState(BootState state) => SoftProcessorState.SetBootState(processor, state);

    public void Save(ArchitecturalState state) => processor.GetState(state);

    public void Restore(ArchitecturalState state) => processor.SetState(state);

    public void Inject(byte vector, uint? errorCode) => SoftProcessorState.Inject(processor, vector, errorCode);

    public void InjectNmi() => SoftProcessorState.InjectNmi(processor);

    public void EnterThread()
    {
        startTime();
        _allocatedAtStart = GC.GetAllocatedBytesForCurrentThread();
    }

    public VcpuStop Run()
    {
        var exit = processor.Run();
        _returns++;
        switch (exit)
        {
            case SoftExit.Kicked:
                return VcpuStop.Kicked;
            case SoftExit.Shutdown:
                Failure = RegisterDump.Describe(processor.Failure ?? "the guest triple-faulted", Save);
                return VcpuStop.TripleFault;
            default:
                Failure = RegisterDump.Describe(processor.Failure ?? $"the software engine stopped: {exit}", Save);
                return VcpuStop.Failed;
        }
    }

    public IReadOnlyList<TranslatedCode> ReadTranslations(int most) => processor.ReadTranslations(most);

    public void Kick() => processor.Kick();

    public bool IsStuck() => processor.IsStuck;

    public void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions) => AddHalts(processor, exits);

    /// <summary>Adds a processor's halts to the report's table of exits.</summary>
    internal static void AddHalts(SoftProcessor processor, IDictionary<string, long> exits)
    {
        const string halts = "hlt";
        if (processor.Halts == 0)
            return;
        exits.TryGetValue(halts, out long before);
        exits[halts] = before + (long)processor.Halts;
    }

    public void Dispose() => processor.Dispose();
}
