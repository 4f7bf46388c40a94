using Kvm.X86.State;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>Registers and memory.</summary>
internal sealed partial class GdbSession
{
    private readonly ArchitecturalState _state = new();

    private GdbAnswer ReadRegisters()
    {
        _debugger.ReadState(_general, _state);
        Span<byte> value = stackalloc byte[GdbRegisters.MostBytes];
        foreach (var register in _registers.All)
        {
            _registers.Read(_state, register, value);
            _reply.Bytes(value[..register.Bytes]);
        }

        return GdbAnswer.Reply;
    }

    private GdbAnswer WriteRegisters(ReadOnlySpan<byte> rest)
    {
        _debugger.ReadState(_general, _state);
        Span<byte> value = stackalloc byte[GdbRegisters.MostBytes];
        foreach (var register in _registers.All)
        {
            if (rest.Length < 2 * register.Bytes || !Hex.TryBytes(rest[..(2 * register.Bytes)], value[..register.Bytes]))
                return Answer(BadRequest);
            _registers.Write(_state, register, value);
            rest = rest[(2 * register.Bytes)..];
        }

        _debugger.WriteState(_general, _state);
        return Answer("OK");
    }

    private GdbAnswer ReadRegister(ReadOnlySpan<byte> rest)
    {
        if (!Hex.TryNumber(ref rest, out ulong number) || number >= (ulong)_registers.All.Count)
            return Answer(BadRequest);
        var register = _registers.All[(int)number];
        _debugger.ReadState(_general, _state);
        Span<byte> value = stackalloc byte[GdbRegisters.MostBytes];
        _registers.Read(_state, register, value);
        _reply.Bytes(value[..register.Bytes]);
        return GdbAnswer.Reply;
    }

    private GdbAnswer WriteRegister(ReadOnlySpan<byte> rest)
    {
        Span<byte> value = stackalloc byte[GdbRegisters.MostBytes];
        if (!Hex.TryNumber(ref rest, out ulong number) || number >= (ulong)_registers.All.Count || !Hex.TrySkip(ref rest, '='))
            return Answer(BadRequest);
        var register = _registers.All[(int)number];
        if (!Hex.TryBytes(rest, value[..register.Bytes]))
            return Answer(BadRequest);
        _debugger.ReadState(_general, _state);
        _registers.Write(_state, register, value);
        _debugger.WriteState(_general, _state);
        return Answer("OK");
    }

    private GdbAnswer ReadMemory(ReadOnlySpan<byte> rest)
    {
        if (!Hex.TryNumber(ref rest, out ulong address) || !Hex.TrySkip(ref rest, ',') || !Hex.TryNumber(ref rest, out ulong length) || !rest.IsEmpty)
            return Answer(BadRequest);
        var bytes = Room((int)Math.Min(length, MostMemory));
        // What can be read before the first byte that cannot is an answer too.
        int read = 0;
        while (read < bytes.Length)
        {
            int part = (int)Math.Min((ulong)(bytes.Length - read), 4096 - ((address + (ulong)read) & 0xfff));
            if (!TryRead(address + (ulong)read, bytes.Slice(read, part)))
                break;
            read += part;
        }

        if (read == 0 && length > 0)
            return Answer(NoSuchAddress);
        _reply.Bytes(bytes[..read]);
        return GdbAnswer.Reply;
    }

    private GdbAnswer WriteMemory(ReadOnlySpan<byte> rest, bool binary)
    {
        if (!Hex.TryNumber(ref rest, out ulong address) || !Hex.TrySkip(ref rest, ',') || !Hex.TryNumber(ref rest, out ulong length)
            || !Hex.TrySkip(ref rest, ':') || length > PacketReader.MostBytes)
        {
            return Answer(BadRequest);
        }

        var bytes = Room((int)length);
        if (!binary && !Hex.TryBytes(rest, bytes))
            return Answer(BadRequest);
        if (binary && rest.Length != bytes.Length)
            return Answer(BadRequest);
        if (binary)
            rest.CopyTo(bytes);
        bool written = _monitor.PhysicalMemory ? _debugger.TryWritePhysical(address, bytes) : _debugger.TryWriteMemory(_general, address, bytes);
        return Answer(written ? "OK" : NoSuchAddress);
    }

    private bool TryRead(ulong address, Span<byte> bytes) =>
        _monitor.PhysicalMemory ? _debugger.Memory.TryRead(address, bytes) : _debugger.TryReadMemory(_general, address, bytes);

    private Span<byte> Room(int length)
    {
        if (_memory.Length < length)
            _memory = new byte[length];
        return _memory.AsSpan(0, length);
    }
}
