using System.Buffers.Binary;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// A trace as <see cref="TraceReader"/> reads it: sixteen bytes (magic, version), then records of a length (16 bits, without itself), a kind
/// and a body, all little-endian. Of registers only those that changed are there.
/// </summary>
internal sealed class BinaryTraceFormat : ITraceFormat
{
    /// <summary>Bytes before the first record.</summary>
    public const int HeaderSize = 16;

    /// <summary>The form's version.</summary>
    public const uint Version = 1;

    /// <summary>The kind of an exit's record.</summary>
    public const byte ExitKind = 1;

    /// <summary>The kind of the last record.</summary>
    public const byte EndKind = 2;

    /// <summary>Bytes of an exit's record before its code: length and kind too.</summary>
    public const int FixedSize = 2 + 1 + 67;

    /// <summary>The longest record.</summary>
    public const int MostBytes = FixedSize + TracedCode.Length + (sizeof(ulong) * TracedRegisters.Length);

    private readonly byte[] _record = new byte[MostBytes];

    /// <summary>What a trace begins with.</summary>
    public static ReadOnlySpan<byte> Magic => "KVM#TRACE\n\u001a\0"u8;

    public void Begin(TraceOutput output)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], Version);
        output.TryAdd(header);
    }

    public bool Write(TraceOutput output, in ExitSample sample)
    {
        var at = _record.AsSpan(2);
        Put8(ref at, ExitKind);
        Put64(ref at, (ulong)sample.Number);
        Put64(ref at, (ulong)sample.Time);
        Put64(ref at, (ulong)sample.Cost);
        Put64(ref at, sample.Address);
        Put64(ref at, sample.Value);
        Put64(ref at, sample.Rip);
        Put32(ref at, sample.Count);
        Put32(ref at, sample.Changed);
        Put32(ref at, (uint)sample.Reason);
        Put8(ref at, (byte)sample.Vcpu);
        Put8(ref at, (byte)(sample.Vcpu >> 8));
        Put8(ref at, sample.Size);
        Put8(ref at, sample.Bitness);
        Put8(ref at, (byte)((sample.IsWrite ? 1 : 0) | (sample.GoesOn ? 2 : 0)));
        Put8(ref at, sample.CodeBefore);
        Put8(ref at, sample.CodeLength);
        ReadOnlySpan<byte> code = sample.Code;
        code[..sample.CodeLength].CopyTo(at);
        at = at[sample.CodeLength..];
        for (int i = 0; i < TracedRegisters.Length; i++)
        {
            if ((sample.Changed >> i & 1) != 0)
                Put64(ref at, sample.Registers[i]);
        }

        return output.TryAdd(Closed(_record.Length - at.Length));
    }

    public void End(TraceOutput output, long lost)
    {
        var at = _record.AsSpan(2);
        Put8(ref at, EndKind);
        Put64(ref at, (ulong)lost);
        output.AddEnd(Closed(_record.Length - at.Length));
    }

    private ReadOnlySpan<byte> Closed(int length)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_record, (ushort)(length - 2));
        return _record.AsSpan(0, length);
    }

    private static void Put8(ref Span<byte> at, byte value)
    {
        at[0] = value;
        at = at[1..];
    }

    private static void Put32(ref Span<byte> at, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, value);
        at = at[sizeof(uint)..];
    }

    private static void Put64(ref Span<byte> at, ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(at, value);
        at = at[sizeof(ulong)..];
    }
}
