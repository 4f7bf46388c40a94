using Kvm.Interop;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// Keeps the timer tick from eating a guest. Where KVM interprets kernels, a tick's handler takes 2 to 4 ms of processor time; a kernel
/// that ticks 250 times a second then does nothing else. So a vCPU that is busy gets its next timer interrupt no sooner than
/// <see cref="Spacing"/> after the last: late, as on any host that has too little time for its guests (kernels count the periods they
/// missed). Clocks are not touched, and a vCPU that is idle is woken in time.
/// </summary>
/// <remarks>Used by the vCPU's thread only. Allocates nothing. Deadlines are IA32_TSC_DEADLINE's (SDM vol. 3, 11.5.4.1).</remarks>
internal sealed class TickSpacing
{
    /// <summary>IA32_TSC_DEADLINE.</summary>
    public const uint Msr = 0x6e0;

    /// <summary>Time a busy vCPU has for itself between two timer interrupts.</summary>
    public static readonly TimeSpan Spacing = TimeSpan.FromMilliseconds(20);

    private const uint MsrTsc = 0x10;

    private readonly KvmVcpu _vcpu;
    private readonly ulong _spacing;
    private ulong _deadline;
    private ulong _fired;
    private long _sleeps;

    /// <summary>Spaces the ticks of <paramref name="vcpu"/>, whose guest has a time stamp counter of <paramref name="tscKhz"/> kHz.</summary>
    public TickSpacing(KvmVcpu vcpu, uint tscKhz)
    {
        _vcpu = vcpu;
        _spacing = (ulong)(tscKhz * Spacing.TotalMilliseconds);
    }

    /// <summary>Deadlines that were put off.</summary>
    public long Delayed { get; private set; }

    /// <summary>Performs the guest's write of IA32_TSC_DEADLINE, which KVM left to us.</summary>
    /// <returns>False if the exit is none of ours.</returns>
    public bool TryHandleWriteMsr()
    {
        ref var msr = ref _vcpu.RunPage.Msr;
        if (msr.Index != Msr)
            return false;
        if (msr.Data != 0 && _vcpu.TryGetMsr(MsrTsc, out ulong now))
        {
            if (_deadline != 0 && _deadline <= now)
                NoteFired(now);
            ulong deadline = Next(msr.Data, _fired, _spacing);
            Delayed += deadline == msr.Data ? 0 : 1;
            _deadline = deadline;
        }
        else
        {
            _deadline = msr.Data;
        }

        msr.Error = _vcpu.TrySetMsr(Msr, _deadline) ? (byte)0 : (byte)1;
        return true;
    }

    /// <summary>The deadline to set: what was asked for, but for a busy vCPU (<paramref name="fired"/> is not 0) no sooner than the spacing allows.</summary>
    internal static ulong Next(ulong requested, ulong fired, ulong spacing)
    {
        if (fired == 0 || fired > ulong.MaxValue - spacing)
            return requested;
        return Math.Max(requested, fired + spacing);
    }

    /// <summary>A timer interrupt came. A vCPU whose thread never slept since the last was busy, however little of a processor it got.</summary>
    private void NoteFired(ulong now)
    {
        long sleeps = HostThread.CurrentSleeps();
        _fired = sleeps == _sleeps ? now : 0;
        _sleeps = sleeps;
    }
}
