using Kvm.Vmm.Host;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm;

/// <summary>
/// Notices vCPUs that make no progress: that use CPU time, but whose every answer to "where are you" over some time was the same page of code with interrupts off, with no
/// access to a device between. A healthy kernel takes an interrupt now and then, whatever it does; a vCPU that sleeps is not asked. Costs a busy vCPU one exit a tenth of that time.
/// Used by one thread, the monitor's.
/// </summary>
/// <param name="vcpus">The vCPUs.</param>
/// <param name="after">How long it has to last.</param>
/// <param name="hung">Told, once until it makes progress again, of a vCPU and why.</param>
internal sealed class HangDetector(IReadOnlyList<VcpuThread> vcpus, TimeSpan after, Action<string> hung)
{
    private const int Looks = 10;
    private const ulong InterruptFlag = 1 << 9;

    private readonly Progress[] _progress = new Progress[vcpus.Count];
    private long _lookedAt = -1;

    /// <summary>Looks when it is time.</summary>
    /// <param name="now">Milliseconds.</param>
    public void Look(long now)
    {
        if (_lookedAt >= 0 && now - _lookedAt < after.TotalMilliseconds / Looks)
            return;
        _lookedAt = now;
        for (int i = 0; i < vcpus.Count; i++)
            Look(vcpus[i], ref _progress[i], now);
    }

    /// <summary>The guest stood still: what was seen before says nothing.</summary>
    public void Forget() => Array.Clear(_progress);

    private void Look(VcpuThread vcpu, ref Progress last, long now)
    {
        long cpuTime = ThreadInfo.SchedulerTime(vcpu.ThreadId), accesses = vcpu.Engine.Observatory.Counts.Total;
        bool answered = vcpu.TryTakeLook(out ulong address, out ulong flags);
        bool same = answered && (flags & InterruptFlag) == 0 && address >> 12 == last.Page && accesses == last.Accesses && cpuTime != last.CpuTime;
        if (!same)
            last = new Progress { Since = now, Page = answered ? address >> 12 : ulong.MaxValue, Accesses = accesses };
        bool sleeps = cpuTime == last.CpuTime;
        last.CpuTime = cpuTime;
        if (same && ++last.Count >= Looks && now - last.Since >= after.TotalMilliseconds && !last.Told)
        {
            last.Told = true;
            hung($"vcpu{vcpu.Index} has been at 0x{address:x} with interrupts off for {(now - last.Since) / 1000} s");
        }

        if (!sleeps)
            vcpu.RequestLook();
    }

    private struct Progress
    {
        public long Since;
        public ulong Page;
        public long Accesses;
        public long CpuTime;
        public int Count;
        public bool Told;
    }
}
