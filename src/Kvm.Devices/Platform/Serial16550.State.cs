using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

public sealed partial class Serial16550
{
    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Span<byte> bytes = stackalloc byte[InputCapacity];
        lock (_registers)
        {
            writer.U8(_ier);
            writer.U8(_lcr);
            writer.U8(_mcr);
            writer.U8(_lsrErrors);
            writer.U8(_msr);
            writer.U8(_scratch);
            writer.U16(_divisor);
            writer.Bool(_fifoEnabled);
            writer.U8((byte)_trigger);
            writer.Bool(_transmitPending);
            writer.Bool(_modemControlWritten);
            writer.Bytes(bytes[.._looped.CopyTo(bytes)]);
            writer.Bytes(bytes[.._input.CopyTo(bytes)]);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte ier = reader.U8(), lcr = reader.U8(), mcr = reader.U8(), errors = reader.U8(), msr = reader.U8(), scratch = reader.U8();
        ushort divisor = reader.U16();
        bool fifoEnabled = reader.Bool();
        byte trigger = reader.U8();
        bool transmitPending = reader.Bool(), modemControlWritten = reader.Bool();
        var looped = reader.Bytes(FifoDepth);
        var input = reader.Bytes(InputCapacity);
        if (version != 1 || !reader.Complete || ier > 0x0f || mcr > 0x1f || (errors & ~LsrErrors) != 0 || trigger is not (1 or 4 or 8 or 14))
            return false;

        bool space;
        lock (_registers)
        {
            (_ier, _lcr, _mcr, _lsrErrors, _msr, _scratch) = (ier, lcr, mcr, errors, msr, scratch);
            (_divisor, _fifoEnabled, _trigger) = (divisor, fifoEnabled, trigger);
            (_transmitPending, _modemControlWritten) = (transmitPending, modemControlWritten);
            _looped.Drop(_looped.Count);
            _looped.Push(looped);
            _input.Drop(_input.Count);
            _input.Push(input);
            _interrupt.Force(InterruptId() != IirNone);
            space = TakeSpaceNotice();
        }

        if (space)
            InputSpaceAvailable?.Invoke();
        return true;
    }
}
