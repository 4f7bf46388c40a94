using Kvm.Vmm.Boot;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>Changes of a software processor's state from outside, between two runs of it.</summary>
internal static class SoftProcessorState
{
    /// <summary>The registers a boot processor starts with.</summary>
    public static void SetBootState(SoftProcessor processor, BootState state) =>
        Change(processor, registers => SoftBootState.Apply(state, registers));

    /// <summary>An exception before the next instruction.</summary>
    public static void Inject(SoftProcessor processor, byte vector, uint? errorCode) => Change(processor, state =>
    {
        state.PendingVector = vector;
        state.PendingHasErrorCode = errorCode is not null;
        state.PendingErrorCode = errorCode ?? 0;
        state.Activity = ActivityState.Running;
    });

    /// <summary>An NMI; it wakes a halted processor.</summary>
    public static void InjectNmi(SoftProcessor processor) => Change(processor, state => state.NmiPending = true);

    private static void Change(SoftProcessor processor, Action<ArchitecturalState> change)
    {
        var state = new ArchitecturalState();
        processor.GetState(state);
        change(state);
        processor.SetState(state);
    }
}
