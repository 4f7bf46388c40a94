namespace Kvm.Vmm.Scheduling;

/// <summary>What the kernel tells of a vCPU's thread. Allocates nothing.</summary>
internal interface IThreadProbe : IDisposable
{
    /// <summary>CPU time in ns, or −1 where the thread is gone.</summary>
    long CpuTime();

    /// <summary>Time in ns that it had a CPU or waited in the run queue for one: what it would like to have. −1 where it is gone.</summary>
    long Demand();

    /// <summary>What it does at this moment.</summary>
    ThreadActivity Activity();

    /// <summary>
    /// Lets it run before ordinary work of its CPU, or no more: one that was told to leave has to be on a CPU to do so. False where the
    /// host does not permit it.
    /// </summary>
    bool Hurry(bool on);

    /// <summary>Makes it leave the guest; false where it is gone.</summary>
    bool Kick();
}

/// <summary>What a thread does.</summary>
internal enum ThreadActivity
{
    /// <summary>It has ended.</summary>
    Gone,

    /// <summary>It sleeps in the guest, or nobody can say where: no processor has it.</summary>
    Asleep,

    /// <summary>It sleeps for something else than an interrupt of the guest's: a lock, a page, the collector, a device.</summary>
    Blocked,

    /// <summary>It runs or could.</summary>
    Awake,
}
