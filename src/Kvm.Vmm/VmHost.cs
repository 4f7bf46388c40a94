using Kvm.Vmm.Probing;

namespace Kvm.Vmm;

/// <summary>Takes what the guest writes to its console. Called on vCPU threads, one at a time; must not block for long or throw.</summary>
/// <param name="text">The bytes, valid only during the call.</param>
public delegate void ConsoleSink(ReadOnlySpan<byte> text);

/// <summary>What a machine needs from its surroundings.</summary>
public sealed record VmHost
{
    /// <summary>Takes the guest's console output; null discards it.</summary>
    public ConsoleSink? ConsoleOutput { get; init; }

    /// <summary>Wall clock of the guest's RTC and of reports.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>What is known of the host's KVM. Null: probed, or read from the cache of an earlier probe, when the machine is built.</summary>
    public HostProfile? Profile { get; init; }

    /// <summary>The machine's places at a scheduler, one for each vCPU; null where the host's kernel alone decides who runs. KVM only.</summary>
    public Scheduling.GateSeats? Seats { get; init; }

    /// <summary>Sees every exit; null where nobody traces. Stays the caller's.</summary>
    public Tracing.ExitTrace? Trace { get; init; }

    /// <summary>
    /// Is told of a fault, and why it is one; returns whether it decides what becomes of the guest: else a panic and a watchdog end it. Called on any thread, vCPUs' among them;
    /// must not block or throw.
    /// </summary>
    public Func<MachineFault, string, bool>? Faulted { get; init; }

    /// <summary>A vCPU that makes no progress for this long hangs (<see cref="MachineFault.Hang"/>); null: nobody looks for that.</summary>
    public TimeSpan? HangAfter { get; init; }

    /// <summary>Takes messages for people, such as which engine was chosen and why; null discards them.</summary>
    public Action<string>? Notice { get; init; }
}
