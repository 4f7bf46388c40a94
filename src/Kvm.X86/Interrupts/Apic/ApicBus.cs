using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>
/// The local APICs of a machine and what carries messages between them. Delivery takes no lock; its cost is bounded by
/// the number of processors, and a message to absent ones is dropped.
/// </summary>
public sealed class ApicBus : IApicFabric, IStateful
{
    private LocalApic[] _apics = [];
    private int _turn;

    /// <summary>The local APICs; the index is the APIC id.</summary>
    public ReadOnlySpan<LocalApic> Apics => _apics;

    /// <inheritdoc/>
    public string StateName => "apic-bus";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    /// <remarks>Whose turn it is among equals in lowest-priority delivery: state, so that a replay repeats it.</remarks>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U8((byte)_turn);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte turn = reader.U8();
        if (version != 1 || !reader.Complete)
            return false;
        Volatile.Write(ref _turn, turn);
        return true;
    }

    /// <inheritdoc/>
    public bool Deliver(in ApicMessage message)
    {
        if (message.Delivery == ApicDelivery.LowestPriority || (message is { RedirectionHint: true, Logical: true, Delivery: ApicDelivery.Fixed }))
            return DeliverToLowest(message);

        // Physical to one processor is nearly every message.
        if (!message.Logical && message.Destination != ApicMessage.Broadcast)
        {
            return message.Destination < (uint)_apics.Length
                && _apics[message.Destination] is { Mode: not ApicMode.Disabled } one
                && one.Receive(message.Delivery, message.Vector, message.LevelTriggered);
        }

        bool accepted = false;
        foreach (var apic in _apics)
        {
            if (apic.Matches(message.Destination, message.Logical))
                accepted |= apic.Receive(message.Delivery, message.Vector, message.LevelTriggered);
        }

        return accepted;
    }

    /// <summary>Adds a local APIC while the machine is built; returns its id.</summary>
    internal uint Add(LocalApic apic)
    {
        _apics = [.. _apics, apic];
        return (uint)(_apics.Length - 1);
    }

    /// <summary>Sends an IPI (SDM vol. 3, 11.6.1). Combinations that table 11-3 and 11-4 call invalid are dropped.</summary>
    /// <param name="sender">Whose command it is.</param>
    /// <param name="message">What to send; the destination counts only without a shorthand.</param>
    /// <param name="shorthand">ICR bits 18–19: none, self, all including self, all excluding self.</param>
    internal void Send(LocalApic sender, in ApicMessage message, int shorthand)
    {
        if (shorthand == 0)
        {
            Deliver(message);
            return;
        }

        // To oneself only fixed interrupts make sense; lowest priority among all others is sent to all others by some
        // processors and to one by others: one, here.
        if (shorthand != 3 && message.Delivery != ApicDelivery.Fixed)
            return;
        if (shorthand == 1)
        {
            sender.Receive(message.Delivery, message.Vector, false);
            return;
        }

        if (message.Delivery == ApicDelivery.LowestPriority)
        {
            DeliverToLowest(message with { Destination = ApicMessage.Broadcast, Logical = false }, sender);
            return;
        }

        foreach (var apic in _apics)
        {
            if ((shorthand == 2 || apic != sender) && apic.Mode != ApicMode.Disabled)
                apic.Receive(message.Delivery, message.Vector, false);
        }
    }

    /// <summary>Among equals the one after the last served, so that interrupts spread (SDM vol. 3, 11.6.2.4 leaves it open).</summary>
    private bool DeliverToLowest(in ApicMessage message, LocalApic? except = null)
    {
        LocalApic? best = null;
        int count = _apics.Length, turn = Volatile.Read(ref _turn);
        for (int i = 1; i <= count; i++)
        {
            var apic = _apics[(int)(((uint)turn + (uint)i) % (uint)count)];
            if (apic != except && apic.AcceptsInterrupts && apic.Matches(message.Destination, message.Logical)
                && (best is null || apic.ArbitrationClass < best.ArbitrationClass))
            {
                best = apic;
            }
        }

        if (best is null)
            return false;
        Volatile.Write(ref _turn, (int)best.Id);
        return best.Receive(ApicDelivery.Fixed, message.Vector, message.LevelTriggered);
    }
}
