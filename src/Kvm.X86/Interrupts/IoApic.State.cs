using System.Buffers.Binary;
using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>Saved state, and the layout of KVM's <c>struct kvm_ioapic_state</c>.</summary>
public sealed partial class IoApic : IStateful
{
    /// <summary>Bytes of <c>struct kvm_ioapic_state</c>: base, select, id, wires, padding, 24 entries.</summary>
    public const int KvmStateSize = 24 + (DefaultPins * 8);

    /// <inheritdoc/>
    public string StateName => "ioapic";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>Writes the state as <c>struct kvm_ioapic_state</c>. Only for a chip of 24 pins; the rest of a larger one is left out.</summary>
    /// <param name="state">At least <see cref="KvmStateSize"/> bytes.</param>
    public void SaveKvmState(Span<byte> state)
    {
        state = state[..KvmStateSize];
        state.Clear();
        lock (_lock)
        {
            uint lines = 0;
            for (int pin = 0; pin < Math.Min(DefaultPins, Pins); pin++)
            {
                lines |= _lines[pin] ? 1u << pin : 0;
                BinaryPrimitives.WriteUInt64LittleEndian(state[(24 + (pin * 8))..], _entries[pin]);
            }

            BinaryPrimitives.WriteUInt64LittleEndian(state, DefaultBase);
            BinaryPrimitives.WriteUInt32LittleEndian(state[8..], _select);
            BinaryPrimitives.WriteUInt32LittleEndian(state[12..], _id);
            BinaryPrimitives.WriteUInt32LittleEndian(state[16..], lines);
        }
    }

    /// <summary>Takes a state in the layout of <see cref="SaveKvmState"/>; false, with nothing changed, if it is too short or the chip has not 24 pins.</summary>
    public bool TryLoadKvmState(ReadOnlySpan<byte> state)
    {
        if (state.Length < KvmStateSize || Pins != DefaultPins)
            return false;
        lock (_lock)
        {
            _select = BinaryPrimitives.ReadUInt32LittleEndian(state[8..]) & 0xff;
            _id = BinaryPrimitives.ReadUInt32LittleEndian(state[12..]) & 0xf;
            uint lines = BinaryPrimitives.ReadUInt32LittleEndian(state[16..]);
            for (int pin = 0; pin < DefaultPins; pin++)
                Load(pin, BinaryPrimitives.ReadUInt64LittleEndian(state[(24 + (pin * 8))..]), (lines & (1u << pin)) != 0);
        }

        RoutesChanged?.Invoke();
        return true;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U8((byte)_select);
        writer.U8((byte)_id);
        writer.U8((byte)Pins);
        for (int pin = 0; pin < Pins; pin++)
        {
            writer.U64(_entries[pin]);
            writer.Bool(_lines[pin]);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte select = reader.U8(), id = reader.U8(), pins = reader.U8();
        if (version != 1 || pins != Pins)
            return false;
        Span<ulong> entries = stackalloc ulong[pins];
        Span<bool> lines = stackalloc bool[pins];
        for (int pin = 0; pin < pins; pin++)
        {
            entries[pin] = reader.U64();
            lines[pin] = reader.Bool();
        }

        if (!reader.Complete)
            return false;
        lock (_lock)
        {
            _select = select;
            _id = id & 0xfu;
            for (int pin = 0; pin < pins; pin++)
                Load(pin, entries[pin], lines[pin]);
        }

        RoutesChanged?.Invoke();
        return true;
    }

    private void Load(int pin, ulong entry, bool asserted)
    {
        entry &= Writable | RemoteIrr;
        _entries[pin] = (entry & LevelTriggered) == 0 ? entry & ~RemoteIrr : entry;
        _lines[pin] = asserted;
    }
}
