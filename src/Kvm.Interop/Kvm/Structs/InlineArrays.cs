using System.Runtime.CompilerServices;

namespace Kvm.Interop;

/// <summary>Four 64-bit words laid out as a C array.</summary>
[InlineArray(4)]
public struct U64x4
{
    private ulong _e;
}

/// <summary>Six 64-bit words laid out as a C array.</summary>
[InlineArray(6)]
public struct U64x6
{
    private ulong _e;
}

/// <summary>Eight 64-bit words laid out as a C array.</summary>
[InlineArray(8)]
public struct U64x8
{
    private ulong _e;
}

/// <summary>Nine 64-bit words laid out as a C array.</summary>
[InlineArray(9)]
public struct U64x9
{
    private ulong _e;
}

/// <summary>Sixteen 64-bit words laid out as a C array.</summary>
[InlineArray(16)]
public struct U64x16
{
    private ulong _e;
}

/// <summary>Twenty-four 64-bit words laid out as a C array.</summary>
[InlineArray(24)]
public struct U64x24
{
    private ulong _e;
}

/// <summary>Two 64-bit words laid out as a C array.</summary>
[InlineArray(2)]
public struct U64x2
{
    private ulong _e;
}

/// <summary>Four 32-bit words laid out as a C array.</summary>
[InlineArray(4)]
public struct U32x4
{
    private uint _e;
}

/// <summary>Eight 32-bit words laid out as a C array.</summary>
[InlineArray(8)]
public struct U32x8
{
    private uint _e;
}

/// <summary>Nine 32-bit words laid out as a C array.</summary>
[InlineArray(9)]
public struct U32x9
{
    private uint _e;
}

/// <summary>Fifteen 32-bit words laid out as a C array.</summary>
[InlineArray(15)]
public struct U32x15
{
    private uint _e;
}

/// <summary>Three 32-bit words laid out as a C array.</summary>
[InlineArray(3)]
public struct U32x3
{
    private uint _e;
}

/// <summary>Three 16-bit words laid out as a C array.</summary>
[InlineArray(3)]
public struct U16x3
{
    private ushort _e;
}

/// <summary>Three bytes laid out as a C array.</summary>
[InlineArray(3)]
public struct U8x3
{
    private byte _e;
}

/// <summary>Five bytes laid out as a C array.</summary>
[InlineArray(5)]
public struct U8x5
{
    private byte _e;
}

/// <summary>Seven bytes laid out as a C array.</summary>
[InlineArray(7)]
public struct U8x7
{
    private byte _e;
}

/// <summary>Eight bytes laid out as a C array.</summary>
[InlineArray(8)]
public struct U8x8
{
    private byte _e;
}

/// <summary>Twelve bytes laid out as a C array.</summary>
[InlineArray(12)]
public struct U8x12
{
    private byte _e;
}

/// <summary>Fifteen bytes laid out as a C array.</summary>
[InlineArray(15)]
public struct U8x15
{
    private byte _e;
}

/// <summary>Sixteen bytes laid out as a C array.</summary>
[InlineArray(16)]
public struct U8x16
{
    private byte _e;
}

/// <summary>Twenty-six bytes laid out as a C array.</summary>
[InlineArray(26)]
public struct U8x26
{
    private byte _e;
}

/// <summary>Thirty-one bytes laid out as a C array.</summary>
[InlineArray(31)]
public struct U8x31
{
    private byte _e;
}

/// <summary>Thirty-six bytes laid out as a C array.</summary>
[InlineArray(36)]
public struct U8x36
{
    private byte _e;
}

/// <summary>Sixty-four bytes laid out as a C array.</summary>
[InlineArray(64)]
public struct U8x64
{
    private byte _e;
}

/// <summary>128 bytes laid out as a C array.</summary>
[InlineArray(128)]
public struct U8x128
{
    private byte _e;
}

/// <summary>256 bytes laid out as a C array.</summary>
[InlineArray(256)]
public struct U8x256
{
    private byte _e;
}

/// <summary>512 bytes laid out as a C array.</summary>
[InlineArray(512)]
public struct U8x512
{
    private byte _e;
}

/// <summary>1024 bytes laid out as a C array: the register page of a local APIC.</summary>
[InlineArray(1024)]
public struct U8x1024
{
    private byte _e;
}

/// <summary>Three 64-bit words laid out as a C array.</summary>
[InlineArray(3)]
public struct U64x3
{
    private ulong _e;
}

/// <summary>Six bytes laid out as a C array.</summary>
[InlineArray(6)]
public struct U8x6
{
    private byte _e;
}
