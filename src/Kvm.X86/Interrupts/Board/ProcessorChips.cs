using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>What belongs to one processor: its local APIC, its time-stamp counter and its kvmclock, behind the seam the engine uses.</summary>
public sealed class ProcessorChips : IInterruptSource, IStateful
{
    private const uint Tsc = 0x10, ApicBase = 0x1b, TscAdjust = 0x3b, TscDeadline = 0x6e0, X2First = 0x800, X2Last = 0x8ff;
    private readonly ChipSet _board;
    private readonly KvmClock _clock;

    internal ProcessorChips(ChipSet board, LocalApic apic, ProcessorTsc tsc, KvmClock clock)
    {
        _board = board;
        _clock = clock;
        Apic = apic;
        Counter = tsc;
    }

    /// <summary>The local APIC.</summary>
    public LocalApic Apic { get; }

    /// <summary>The time-stamp counter.</summary>
    public ProcessorTsc Counter { get; }

    /// <summary>The processor to notify; set before the machine runs.</summary>
    public IInterruptTarget? Target
    {
        get => Apic.Target;
        set => Apic.Target = value;
    }

    /// <inheritdoc/>
    public InterruptEvents Pending => Apic.Pending;

    /// <inheritdoc/>
    public bool IsBootstrapProcessor => Apic.IsBootstrapProcessor;

    /// <inheritdoc/>
    public byte TaskPriorityClass
    {
        get => Apic.TaskPriorityClass;
        set => Apic.TaskPriorityClass = value;
    }

    /// <inheritdoc/>
    public ulong ApicPage => Apic.Page;

    /// <inheritdoc/>
    public string StateName => $"processor-clock{Apic.Id}";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public int AcknowledgeInterrupt() => Apic.AcknowledgeInterrupt();

    /// <inheritdoc/>
    public bool TakeNmi() => Apic.TakeNmi();

    /// <inheritdoc/>
    public void MergeNmis() => Apic.MergeNmis();

    /// <inheritdoc/>
    public bool TakeInit() => Apic.TakeInit();

    /// <inheritdoc/>
    public int TakeStartup() => Apic.TakeStartup();

    /// <inheritdoc/>
    public void ReadApicPage(uint offset, Span<byte> data) => Apic.ReadPage(offset, data);

    /// <inheritdoc/>
    public void WriteApicPage(uint offset, ReadOnlySpan<byte> data) => Apic.WritePage(offset, data);

    /// <inheritdoc/>
    public ulong ReadTsc() => Counter.Value;

    /// <inheritdoc/>
    public bool TryReadMsr(uint msr, out ulong value)
    {
        switch (msr)
        {
            case Tsc:
                value = Counter.Value;
                return true;
            case TscAdjust:
                value = Counter.Offset;
                return true;
            case ApicBase:
                value = Apic.Base;
                return true;
            case TscDeadline:
                value = Apic.TscDeadline;
                return true;
            case >= X2First and <= X2Last:
                return Apic.TryReadX2(msr, out value);
            default:
                return _clock.TryRead(msr, out value);
        }
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint msr, ulong value)
    {
        switch (msr)
        {
            case Tsc:
                Counter.Write(value);
                OffsetChanged();
                return true;
            case TscAdjust:
                Counter.Offset = value;
                OffsetChanged();
                return true;
            case ApicBase:
                return Apic.TryWriteBase(value);
            case TscDeadline:
                Apic.WriteTscDeadline(value);
                return true;
            case >= X2First and <= X2Last:
                return Apic.TryWriteX2(msr, value);
            default:
                return _clock.TryWrite(msr, value, _board.CountersEqual);
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        var (systemTime, wallClock) = _clock.Registers;
        writer.U64(Counter.Offset);
        writer.U64(systemTime);
        writer.U64(wallClock);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        ulong offset = reader.U64(), systemTime = reader.U64(), wallClock = reader.U64();
        if (!reader.Complete || version != 1)
            return false;
        Counter.Offset = offset;
        _clock.Restore(systemTime, wallClock);
        return true;
    }

    /// <summary>Power-up state of the local APIC; the counter's offset and kvmclock go back to nothing.</summary>
    internal void Reset(bool virtualWire)
    {
        Counter.Offset = 0;
        _clock.Restore(0, 0);
        Apic.PowerUp();
        if (virtualWire)
            Apic.SetVirtualWire();
    }

    internal void PublishClock(bool stable, bool stopped) => _clock.Publish(stable, stopped);

    private void OffsetChanged()
    {
        Apic.TscChanged();
        _board.PublishClocks(stopped: false);
    }
}
