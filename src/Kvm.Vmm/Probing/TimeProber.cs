using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>Whether this host's KVM moves a vCPU's time stamp counter when it is told to: some take KVM_VCPU_TSC_OFFSET and leave the counter where it is.</summary>
internal static class TimeProber
{
    private const uint Tsc = 0x10;

    // More than can pass between two reads of a counter of 10 GHz, on a host however busy.
    private const ulong Distance = 1UL << 48;

    private static readonly Lock s_lock = new();
    private static bool? _moves;

    /// <summary>Tries it with a vCPU that never runs, once in a process.</summary>
    public static bool CounterMoves(KvmSystem system)
    {
        lock (s_lock)
            return _moves ??= Try(system);
    }

    private static bool Try(KvmSystem system)
    {
        try
        {
            using var vm = system.CreateVm();
            using var vcpu = vm.CreateVcpu(0);
            if (!vcpu.HasTscOffset || !vcpu.TryGetMsr(Tsc, out ulong before))
                return false;
            vcpu.SetTscOffset(vcpu.GetTscOffset() + Distance);
            return vcpu.TryGetMsr(Tsc, out ulong after) && after - before >= Distance;
        }
        catch (KvmException)
        {
            return false;
        }
    }
}
