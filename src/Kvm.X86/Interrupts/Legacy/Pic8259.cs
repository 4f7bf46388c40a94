using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>
/// The PC's two 8259As: ports 0x20–0x21 (master), 0xa0–0xa1 (slave, on the master's IR2) and 0x4d0–0x4d1 (edge/level control).
/// Safe from any thread.
/// </summary>
public sealed class Pic8259 : IExternalInterruptController, IStateful
{
    /// <summary>First port of the master, two ports.</summary>
    public const ushort MasterPort = 0x20;

    /// <summary>First port of the slave, two ports.</summary>
    public const ushort SlavePort = 0xa0;

    /// <summary>First of the two edge/level control registers.</summary>
    public const ushort ElcrPort = 0x4d0;

    /// <summary>Bytes of the two <c>struct kvm_pic_state</c> that <see cref="SaveKvmState"/> writes, master first.</summary>
    public const int KvmStateSize = 2 * Pic8259Chip.KvmStateSize;

    private readonly Lock _lock = new();
    private readonly Pic8259Chip _master = new(master: true);
    private readonly Pic8259Chip _slave = new(master: false);
    private readonly IInterruptLine _output;
    private bool _asserted;

    /// <summary>Makes the pair, with every input masked until the guest initialises it.</summary>
    /// <param name="output">INTR; driven with the chips' lock held.</param>
    public Pic8259(IInterruptLine output)
    {
        ArgumentNullException.ThrowIfNull(output);
        _output = output;
        _master.Reset();
        _slave.Reset();
    }

    /// <inheritdoc/>
    public string StateName => "pic";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>Power-up state: everything masked until the guest initialises the chips. Wires stay as they are.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _master.Reset();
            _slave.Reset();
            Update();
        }
    }

    /// <summary>Drives an ISA interrupt, 0 to 15; 2 is the cascade and has no wire.</summary>
    public void SetLine(int irq, bool asserted)
    {
        if ((uint)irq > 15 || irq == 2)
            return;
        lock (_lock)
        {
            if (irq < 8)
                _master.SetLine(irq, asserted);
            else
                _slave.SetLine(irq - 8, asserted);
            Update();
        }
    }

    /// <inheritdoc/>
    public byte Acknowledge()
    {
        lock (_lock)
        {
            byte vector;
            int input = _master.Request();
            if (input < 0)
            {
                vector = _master.Spurious;
            }
            else
            {
                vector = _master.Acknowledge(input);
                // A slave's request that went away leaves the master's IR2 in service: software ends it there only.
                if (input == 2)
                    vector = _slave.Request() is var inner and >= 0 ? _slave.Acknowledge(inner) : _slave.Spurious;
            }

            Update();
            return vector;
        }
    }

    /// <summary>Adds the chips' ports to the port bus.</summary>
    public void Register(IoBus ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        ports.Add(MasterPort, 2, new Ports(this, _master));
        ports.Add(SlavePort, 2, new Ports(this, _slave));
        ports.Add(ElcrPort, 2, new ElcrPorts(this));
    }

    /// <summary>Writes two <c>struct kvm_pic_state</c>, master and slave.</summary>
    /// <param name="state">At least <see cref="KvmStateSize"/> bytes.</param>
    public void SaveKvmState(Span<byte> state)
    {
        state = state[..KvmStateSize];
        lock (_lock)
        {
            _master.Save(state);
            _slave.Save(state[Pic8259Chip.KvmStateSize..]);
        }
    }

    /// <summary>Takes two <c>struct kvm_pic_state</c>; false, with nothing changed, if there are too few bytes.</summary>
    public bool TryLoadKvmState(ReadOnlySpan<byte> state)
    {
        if (state.Length < KvmStateSize)
            return false;
        lock (_lock)
        {
            _master.Load(state);
            _slave.Load(state[Pic8259Chip.KvmStateSize..]);
            Update();
        }

        return true;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Span<byte> state = stackalloc byte[KvmStateSize];
        SaveKvmState(state);
        writer.Bytes(state);
        writer.U8(_master.Extra);
        writer.U8(_slave.Extra);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        var state = reader.Bytes(KvmStateSize);
        byte master = reader.U8(), slave = reader.U8();
        if (!reader.Complete || version != 1 || state.Length != KvmStateSize)
            return false;
        _master.Extra = master;
        _slave.Extra = slave;
        return TryLoadKvmState(state);
    }

    private void Update()
    {
        _master.SetCascade(_slave.Request() >= 0);
        bool asserted = _master.Request() >= 0;
        if (asserted == _asserted)
            return;
        _asserted = asserted;
        _output.Set(asserted);
    }

    private sealed class Ports(Pic8259 pair, Pic8259Chip chip) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            // The chip has an 8-bit bus: the bytes of a wider access are accesses to the ports behind one another.
            lock (pair._lock)
            {
                for (int i = 0; i < data.Length; i++)
                    data[i] = offset + (uint)i < 2 ? chip.Read((int)offset + i) : (byte)0xff;
                pair.Update();
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            lock (pair._lock)
            {
                for (int i = 0; i < data.Length && offset + (uint)i < 2; i++)
                    chip.Write((int)offset + i, data[i]);
                pair.Update();
            }
        }
    }

    private sealed class ElcrPorts(Pic8259 pair) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            lock (pair._lock)
            {
                for (int i = 0; i < data.Length; i++)
                    data[i] = (offset + (uint)i) switch { 0 => pair._master.Elcr, 1 => pair._slave.Elcr, _ => 0xff };
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            lock (pair._lock)
            {
                for (int i = 0; i < data.Length && offset + (uint)i < 2; i++)
                {
                    if (offset + (uint)i == 0)
                        pair._master.Elcr = data[i];
                    else
                        pair._slave.Elcr = data[i];
                }

                pair.Update();
            }
        }
    }
}
