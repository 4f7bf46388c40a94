// Invariants: a register number is below Slots.Count (8-bit: a byte offset below 8·16); a host address is one a translation
// buffer hit gave for this many bytes.
using System.Runtime.CompilerServices;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>An operand size as a type argument: every handler is compiled for each, without a test at run time.</summary>
internal unsafe interface ISize
{
    static abstract int Bytes { get; }

    /// <summary>The register's value, sign-extended.</summary>
    static abstract long Get(Cpu* cpu, nuint register);

    /// <summary>Writes a register by x86-64's rules: 32 bits clear the upper half, 8 and 16 leave the rest.</summary>
    static abstract void Set(Cpu* cpu, nuint register, long value);

    /// <summary>Reads host memory, sign-extended.</summary>
    static abstract long Load(nint host);

    static abstract void Store(nint host, long value);

    /// <summary>Sign-extends from this size.</summary>
    static abstract long Extend(long value);

    /// <summary>Atomically replaces if equal; returns what was there, sign-extended.</summary>
    static abstract long CompareExchange(nint host, long value, long expected);
}

internal unsafe readonly struct S8 : ISize
{
    public static int Bytes => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Get(Cpu* cpu, nuint register) => ((sbyte*)cpu)[register];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, nuint register, long value) => ((byte*)cpu)[register] = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Load(nint host) => *(sbyte*)host;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(nint host, long value) => *(byte*)host = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Extend(long value) => (sbyte)value;

    public static long CompareExchange(nint host, long value, long expected) =>
        (sbyte)Interlocked.CompareExchange(ref *(byte*)host, (byte)value, (byte)expected);
}

internal unsafe readonly struct S16 : ISize
{
    public static int Bytes => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Get(Cpu* cpu, nuint register) => *(short*)((ulong*)cpu + register);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, nuint register, long value) => *(ushort*)((ulong*)cpu + register) = (ushort)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Load(nint host) => *(short*)host;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(nint host, long value) => *(ushort*)host = (ushort)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Extend(long value) => (short)value;

    public static long CompareExchange(nint host, long value, long expected) =>
        (short)Interlocked.CompareExchange(ref *(ushort*)host, (ushort)value, (ushort)expected);
}

internal unsafe readonly struct S32 : ISize
{
    public static int Bytes => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Get(Cpu* cpu, nuint register) => *(int*)((ulong*)cpu + register);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, nuint register, long value) => ((ulong*)cpu)[register] = (uint)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Load(nint host) => *(int*)host;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(nint host, long value) => *(int*)host = (int)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Extend(long value) => (int)value;

    public static long CompareExchange(nint host, long value, long expected) =>
        Interlocked.CompareExchange(ref *(int*)host, (int)value, (int)expected);
}

internal unsafe readonly struct S64 : ISize
{
    public static int Bytes => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Get(Cpu* cpu, nuint register) => ((long*)cpu)[register];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, nuint register, long value) => ((long*)cpu)[register] = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Load(nint host) => *(long*)host;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(nint host, long value) => *(long*)host = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Extend(long value) => value;

    public static long CompareExchange(nint host, long value, long expected) =>
        Interlocked.CompareExchange(ref *(long*)host, value, expected);
}

/// <summary>How a memory operand's address is computed.</summary>
internal unsafe interface IAddress
{
    static abstract ulong Of(Cpu* cpu, Decode.Op* op);
}

/// <summary>Base + displacement.</summary>
internal unsafe readonly struct AddressB : IAddress
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(Cpu* cpu, Decode.Op* op) => ((ulong*)cpu)[(nuint)op->Base] + (ulong)(long)op->Disp;
}

/// <summary>Base + index · scale + displacement.</summary>
internal unsafe readonly struct AddressX : IAddress
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(Cpu* cpu, Decode.Op* op) => Ea.Of(cpu, op);
}
