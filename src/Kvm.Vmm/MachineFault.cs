namespace Kvm.Vmm;

/// <summary>What can go wrong with a guest that still runs.</summary>
public enum MachineFault
{
    /// <summary>Its kernel reported a panic (pvpanic).</summary>
    Panic,

    /// <summary>It did not set its watchdog back in time.</summary>
    Watchdog,

    /// <summary>A vCPU makes no progress, where that is looked for (<see cref="VmHost.HangAfter"/>).</summary>
    Hang,
}
