using System.Runtime.CompilerServices;

#pragma warning disable CS1591 // each is an array of a C structure: the element's width in bits, then the length

namespace Kvm.Interop;

[InlineArray(2)]
public struct U64x2 { private ulong _e; }

[InlineArray(3)]
public struct U64x3 { private ulong _e; }

[InlineArray(4)]
public struct U64x4 { private ulong _e; }

[InlineArray(6)]
public struct U64x6 { private ulong _e; }

[InlineArray(8)]
public struct U64x8 { private ulong _e; }

[InlineArray(9)]
public struct U64x9 { private ulong _e; }

[InlineArray(16)]
public struct U64x16 { private ulong _e; }

[InlineArray(24)]
public struct U64x24 { private ulong _e; }

[InlineArray(3)]
public struct U32x3 { private uint _e; }

[InlineArray(4)]
public struct U32x4 { private uint _e; }

[InlineArray(8)]
public struct U32x8 { private uint _e; }

[InlineArray(9)]
public struct U32x9 { private uint _e; }

[InlineArray(15)]
public struct U32x15 { private uint _e; }

[InlineArray(3)]
public struct U16x3 { private ushort _e; }

[InlineArray(3)]
public struct U8x3 { private byte _e; }

[InlineArray(5)]
public struct U8x5 { private byte _e; }

[InlineArray(6)]
public struct U8x6 { private byte _e; }

[InlineArray(7)]
public struct U8x7 { private byte _e; }

[InlineArray(8)]
public struct U8x8 { private byte _e; }

[InlineArray(12)]
public struct U8x12 { private byte _e; }

[InlineArray(15)]
public struct U8x15 { private byte _e; }

[InlineArray(16)]
public struct U8x16 { private byte _e; }

[InlineArray(26)]
public struct U8x26 { private byte _e; }

[InlineArray(31)]
public struct U8x31 { private byte _e; }

[InlineArray(36)]
public struct U8x36 { private byte _e; }

[InlineArray(64)]
public struct U8x64 { private byte _e; }

[InlineArray(128)]
public struct U8x128 { private byte _e; }

[InlineArray(256)]
public struct U8x256 { private byte _e; }

[InlineArray(512)]
public struct U8x512 { private byte _e; }

[InlineArray(1024)]
public struct U8x1024 { private byte _e; }
