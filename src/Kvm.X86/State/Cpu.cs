using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Kvm.X86.State;

/// <summary>Twenty 64-bit slots: the sixteen general registers and four the decoder uses as if they were registers.</summary>
[InlineArray(Slots.Count)]
internal struct GprFile
{
    private ulong _first;
}

/// <summary>Numbers of the slots of <see cref="GprFile"/> beyond the sixteen registers.</summary>
internal static class Slots
{
    /// <summary>Always zero: the base or index of an address that has none.</summary>
    public const int Zero = 16;

    /// <summary>The RIP that belongs to offset 0 of the current code page: base of RIP-relative addresses.</summary>
    public const int CodeBase = 17;

    /// <summary>The linear address left by an address micro-op for the op behind it.</summary>
    public const int Address = 18;

    /// <summary>Scratch for the decoder's micro-ops.</summary>
    public const int Temp = 19;

    /// <summary>Number of slots.</summary>
    public const int Count = 20;
}

/// <summary>ES CS SS DS FS GS, then LDTR and TR.</summary>
[InlineArray(8)]
internal struct SegmentFile
{
    private SegmentRegister _first;
}

/// <summary>Eight 80-bit registers of the x87, each in sixteen bytes.</summary>
[InlineArray(8)]
internal struct X87File
{
    private X87Register _first;
}

/// <summary>One physical x87 register: 64 bits of significand, then sign and exponent.</summary>
internal struct X87Register
{
    public ulong Significand;
    public ushort SignExponent;
}

/// <summary>Four breakpoint addresses.</summary>
[InlineArray(4)]
internal struct BreakpointFile
{
    private ulong _first;
}

/// <summary>Numbers of the segment registers, as encoded, and of LDTR and TR behind them.</summary>
internal static class Seg
{
    public const int Es = 0, Cs = 1, Ss = 2, Ds = 3, Fs = 4, Gs = 5, Ldtr = 6, Tr = 7;
}

/// <summary>
/// The processor's state as the interpreter and the translator use it: one block of native memory, reached by
/// <c>Cpu*</c> in Execute/ and by <c>ref Cpu</c> in safe code. Addresses are <c>nint</c> so that the type itself is safe.
/// </summary>
/// <remarks>Owned by one thread; only <see cref="Attention"/> is written by others.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct Cpu
{
    /// <summary>General registers first: handlers use <c>((ulong*)cpu)[n]</c>.</summary>
    public GprFile Gpr;

    /// <summary>Result of the last instruction that set the status flags, sign-extended from its size.</summary>
    public long FlagResult;

    /// <summary>First operand, sign-extended, or bits: see <see cref="FlagKind"/>.</summary>
    public long FlagA;

    /// <summary>Second operand, sign-extended.</summary>
    public long FlagB;

    /// <summary>While the kind is Host: AH as LAHF left it in bits 8–15, OF in bit 0. One store with the next two bytes.</summary>
    public ushort HostFlags;

    /// <summary>How to read the four above: one of <see cref="State.FlagKind"/>.</summary>
    public byte FlagKind;

    /// <summary>Zero.</summary>
    public byte FlagPadding;

    /// <summary>RFLAGS without the six status flags, which are here only while the kind is Explicit.</summary>
    public uint Rflags;

    /// <summary>The active translation buffer's first entry; depends on privilege, AC, and CR4.SMAP.</summary>
    public nint Tlb;

    /// <summary>Instructions left before the run loop wants control back.</summary>
    public int Left;

    /// <summary>Negative: return to the run loop at the next block end. Written by any thread.</summary>
    public int Attention;

    /// <summary>Non-zero: leave the block after this instruction (its code changed, its mode changed, …).</summary>
    public int LeaveBlock;

    /// <summary>Non-zero: a repeated string instruction stopped between iterations.</summary>
    public int Unfinished;

    /// <summary>CPL, 0–3.</summary>
    public int Cpl;

    /// <summary>First entry of the jump cache.</summary>
    public nint JumpCache;

    /// <summary>What a jump-cache entry must carry in its upper 16 bits to be valid: generation, mode and privilege.</summary>
    public ulong JumpKey;

    /// <summary>The op a stub wants linked to the block at RIP.</summary>
    public nint LinkOp;

    /// <summary>Code size, stack size and flatness: see <see cref="State.ModeBits"/>.</summary>
    public uint Mode;

    /// <summary>Bits RIP has: all in 64-bit mode, 32 elsewhere.</summary>
    public ulong RipMask;

    /// <summary>RIP, valid whenever no block is being executed; inside a block it is CodeBase + the op's offset.</summary>
    public ulong Rip;

    /// <summary>The recorded fault: vector, or -1. See Fault.Raise.</summary>
    public int FaultVector;

    /// <summary>Its error code.</summary>
    public uint FaultError;

    /// <summary>For #PF the linear address, which becomes CR2 at delivery; for #DB the DR6 bits.</summary>
    public ulong FaultAddress;

    /// <summary>Non-zero if the fault is a trap: RIP is to be after the instruction.</summary>
    public int FaultIsTrap;

    /// <summary>Where the fault comes from (an EventSource), and the length of the instruction for software interrupts.</summary>
    public int FaultSource, FaultLength;

    /// <summary>DR6 bits of a #DB trap to deliver after this instruction.</summary>
    public ulong PendingDebug;

    /// <summary>Entry of translated code: <c>delegate* unmanaged&lt;Cpu*, nint, nint&gt;</c>.</summary>
    public nint HostEnter;

    /// <summary>Distance from the view of code that is run to the one that is written.</summary>
    public nint HostToWritable;

    /// <summary>What translated code left with: the linear address of an access, or the op to go on at.</summary>
    public ulong HostValue;

    /// <summary>Instructions handed out to run so far; less <see cref="Left"/>, those retired.</summary>
    public ulong Retired;

    public SegmentFile Segments;
    public DescriptorTable Gdtr;
    public DescriptorTable Idtr;
    public ulong Cr0, Cr2, Cr3, Cr4, Efer, Xcr0;
    public BreakpointFile Dr;
    public ulong Dr6, Dr7;
    public ulong Star, Lstar, Cstar, Fmask, KernelGsBase, SysenterCs, SysenterEsp, SysenterEip, Pat, TscAux, MiscEnable, Xss, SpecCtrl, DebugCtl;

    /// <summary>Physical address width (MAXPHYADDR), 36–52.</summary>
    public int PhysicalBits;

    /// <summary>Linear address width in long mode, 48 or 57.</summary>
    public int LinearBits;

    /// <summary>What the processor can: see <see cref="State.CpuFeatures"/>.</summary>
    public uint Features;

    /// <summary>Non-zero while interrupts wait for one instruction (1: STI, 2: MOV/POP SS).</summary>
    public int InterruptShadow;

    public int NmiMasked;
    public int NmiPending;

    /// <summary>An <see cref="State.ActivityState"/>.</summary>
    public int Activity;

    /// <summary>
    /// The XSAVE area in standard format, 64-byte aligned, ArchitecturalState.ExtendedSize bytes, header unused while
    /// running: XMM i at +160+16·i, upper half of YMM i at +576+16·i. Its x87 part is stale: the fields below are the truth.
    /// </summary>
    public nint Extended;

    /// <summary>The physical x87 registers R0–R7; ST(i) is R[(top + i) &amp; 7]. MMX register i is R[i].</summary>
    public X87File X87;

    /// <summary>x87 control word.</summary>
    public ushort X87Control;

    /// <summary>x87 status word with TOP zero; TOP is <see cref="X87Top"/>.</summary>
    public ushort X87Status;

    /// <summary>Top of stack, 0–7.</summary>
    public byte X87Top;

    /// <summary>One bit a physical register: set if it is not empty.</summary>
    public byte X87Valid;

    /// <summary>Last x87 opcode, 11 bits.</summary>
    public ushort X87Opcode;

    public ulong X87InstructionPointer;
    public ulong X87DataPointer;
    public uint Mxcsr;

    /// <summary>XSTATE_BV of the area for components this engine only passes through (AVX-512, PKRU).</summary>
    public ulong PassThroughState;

    /// <summary>PAUSE instructions executed.</summary>
    public uint Pauses;

    /// <summary>Scratch memory of the slow paths, 64-byte aligned: see Execute/Slow.</summary>
    public nint Scratch;

    /// <summary>A translation buffer that is empty but while a slow path redirects one access through it.</summary>
    public nint RedirectTlb;

    /// <summary>GCHandle of the <c>CpuContext</c>: memory, buses, chips. Slow paths only.</summary>
    public nint Context;
}

/// <summary>How the lazy status flags are to be read.</summary>
internal static class FlagKind
{
    /// <summary>The six flags are in <see cref="Cpu.Rflags"/>.</summary>
    public const int Explicit = 0;

    /// <summary>Result = A − B.</summary>
    public const int Sub = 1;

    /// <summary>Result = A + B.</summary>
    public const int Add = 2;

    /// <summary>CF = OF = AF = 0.</summary>
    public const int Logic = 3;

    /// <summary>CF, AF and OF are the bits of A at their places in RFLAGS; ZF, SF, PF of the result.</summary>
    public const int Bits = 4;

    /// <summary>Increment: CF is bit 0 of A; B is the least value of the size.</summary>
    public const int Inc = 5;

    /// <summary>Decrement: CF is bit 0 of A; B is the greatest value of the size.</summary>
    public const int Dec = 6;

    /// <summary>Saved by translated code: see <see cref="Cpu.HostFlags"/>.</summary>
    public const int Host = 7;
}

/// <summary>What decoded code depends on besides its bytes; part of a block's key.</summary>
internal static class ModeBits
{
    /// <summary>Mask of the code size: 0 = 16 bits, 1 = 32, 2 = 64.</summary>
    public const uint CodeSize = 3;

    /// <summary>The stack pointer has 32 bits (outside 64-bit mode).</summary>
    public const uint BigStack = 4;

    /// <summary>CS has limit 4 GiB − 1 (or is 64-bit): no instruction fetch can pass the limit.</summary>
    public const uint FlatCode = 8;
}

/// <summary>Instructions whose meaning depends on the processor chosen.</summary>
internal static class CpuFeatures
{
    /// <summary>LZCNT exists; otherwise its encoding is BSR.</summary>
    public const uint Lzcnt = 1;

    /// <summary>BMI1 exists; otherwise TZCNT's encoding is BSF.</summary>
    public const uint Bmi1 = 2;

    /// <summary>MOVBE exists.</summary>
    public const uint Movbe = 4;
}
