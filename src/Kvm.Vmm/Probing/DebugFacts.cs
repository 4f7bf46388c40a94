namespace Kvm.Vmm.Probing;

/// <summary>Which kinds of stops KVM_SET_GUEST_DEBUG makes on this host, at kernel and user level of a guest: found by tiny guests.</summary>
/// <param name="StepKernel">Single steps of kernel code.</param>
/// <param name="StepUser">Single steps of user code.</param>
/// <param name="BreakKernel">Debug registers on kernel code.</param>
/// <param name="BreakUser">Debug registers on user code.</param>
/// <param name="WatchKernel">Debug registers on data that kernel code writes.</param>
/// <param name="WatchUser">Debug registers on data that user code writes.</param>
/// <param name="TrapKernel">A planted <c>int3</c> in kernel code comes out: as a debug exit, or as an instruction KVM gives up on.</param>
/// <param name="TrapUser">A planted <c>int3</c> in user code comes out.</param>
internal sealed record DebugFacts(
    bool StepKernel, bool StepUser, bool BreakKernel, bool BreakUser, bool WatchKernel, bool WatchUser, bool TrapKernel, bool TrapUser);
