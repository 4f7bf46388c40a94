using System.Buffers.Binary;
using Kvm.X86.State;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>What a register of <see cref="GdbRegisters"/> is.</summary>
internal enum GdbRegisterKind
{
    General, InstructionPointer, Flags, Segment, St, FpuControl, Xmm, Mxcsr, YmmHigh, SegmentBase, KernelGsBase,
    Cr0, Cr2, Cr3, Cr4, Cr8, Efer, Xcr0, Debug, Dr6, Dr7,
}

/// <summary>One register as gdb knows it.</summary>
/// <param name="Name">Its name, which gdb looks for.</param>
/// <param name="Bits">Its size.</param>
/// <param name="Type">Its type in the description.</param>
/// <param name="Feature">Where it stands in the description.</param>
/// <param name="Kind">What it is.</param>
/// <param name="Index">Which of its kind, by the processor's encoding.</param>
internal sealed record GdbRegister(string Name, int Bits, string Type, string Feature, GdbRegisterKind Kind, int Index = 0)
{
    /// <summary>Its size.</summary>
    public int Bytes => Bits / 8;
}

/// <summary>
/// The registers gdb is told of, in the order of their numbers, and their bytes in a processor's state. gdb's program counter is the linear
/// address of the next instruction, which differs from RIP where CS has a base, so that breakpoints and disassembly are right there too.
/// </summary>
internal sealed class GdbRegisters
{
    public const string Core = "org.gnu.gdb.i386.core", Sse = "org.gnu.gdb.i386.sse", Avx = "org.gnu.gdb.i386.avx",
        Segments = "org.gnu.gdb.i386.segments", System = "org.kvmsharp.system";

    // Offsets in the XSAVE area (SDM vol. 1, 13.4.1 and 10.5.1).
    private const int FpuControlWord = 0, FpuStatusWord = 2, FpuTags = 4, FpuOpcode = 6, FpuIp = 8, FpuDp = 16, MxcsrAt = 24,
        StAt = 32, XmmAt = 160, HeaderAt = 512, YmmAt = 576;

    private static readonly string[] s_names64 = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    private static readonly int[] s_order64 = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
    private static readonly string[] s_segments = ["es", "cs", "ss", "ds", "fs", "gs"];
    private static readonly int[] s_segmentOrder = [1, 2, 3, 0, 4, 5];
    private static readonly string[] s_fpuControl = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];

    private readonly List<GdbRegister> _all = [];
    private readonly bool _wide;

    /// <summary>The registers of an x86-64, or of a 32-bit processor.</summary>
    public GdbRegisters(bool wide)
    {
        _wide = wide;
        int word = wide ? 64 : 32, count = wide ? 16 : 8;
        for (int i = 0; i < count; i++)
        {
            int index = wide ? s_order64[i] : i;
            string name = wide ? s_names64[index] : "e" + s_names64[index][1..];
            Add(name, word, index is 4 or 5 ? "data_ptr" : wide ? "int64" : "int32", Core, GdbRegisterKind.General, index);
        }

        Add(wide ? "rip" : "eip", word, "code_ptr", Core, GdbRegisterKind.InstructionPointer);
        Add("eflags", 32, "i386_eflags", Core, GdbRegisterKind.Flags);
        foreach (int segment in s_segmentOrder)
            Add(s_segments[segment], 32, "int32", Core, GdbRegisterKind.Segment, segment);
        for (int i = 0; i < 8; i++)
            Add($"st{i}", 80, "i387_ext", Core, GdbRegisterKind.St, i);
        for (int i = 0; i < s_fpuControl.Length; i++)
            Add(s_fpuControl[i], 32, "int", Core, GdbRegisterKind.FpuControl, i);
        for (int i = 0; i < count; i++)
            Add($"xmm{i}", 128, "vec128", Sse, GdbRegisterKind.Xmm, i);
        Add("mxcsr", 32, "int", Sse, GdbRegisterKind.Mxcsr);
        for (int i = 0; i < count; i++)
            Add($"ymm{i}h", 128, "uint128", Avx, GdbRegisterKind.YmmHigh, i);
        AddSystem(word);
    }

    /// <summary>All of them.</summary>
    public IReadOnlyList<GdbRegister> All => _all;

    /// <summary>Whether they are an x86-64's.</summary>
    public bool IsWide => _wide;

    /// <summary>The longest of them.</summary>
    public const int MostBytes = 16;

    /// <summary>gdb's program counter.</summary>
    public static ulong ProgramCounter(ArchitecturalState state) => state.CodeAddress;

    /// <summary>Writes a register's bytes.</summary>
    public void Read(ArchitecturalState state, GdbRegister register, Span<byte> to)
    {
        to = to[..register.Bytes];
        var area = state.Extended.AsSpan();
        switch (register.Kind)
        {
            case GdbRegisterKind.St:
                area.Slice(StAt + (16 * register.Index), to.Length).CopyTo(to);
                break;
            case GdbRegisterKind.Xmm:
                area.Slice(XmmAt + (16 * register.Index), to.Length).CopyTo(to);
                break;
            case GdbRegisterKind.YmmHigh:
                area.Slice(YmmAt + (16 * register.Index), to.Length).CopyTo(to);
                break;
            default:
                Span<byte> word = stackalloc byte[8];
                BinaryPrimitives.WriteUInt64LittleEndian(word, Value(state, register));
                word[..to.Length].CopyTo(to);
                break;
        }
    }

    /// <summary>Puts a register's bytes into a state. What a processor has no such register for, or fixes, stays.</summary>
    public void Write(ArchitecturalState state, GdbRegister register, ReadOnlySpan<byte> from)
    {
        from = from[..register.Bytes];
        var area = state.Extended.AsSpan();
        // What is written is in use: XSTATE_BV bits of x87, SSE and AVX.
        area[HeaderAt] |= register.Kind switch
        {
            GdbRegisterKind.St or GdbRegisterKind.FpuControl => (byte)1,
            GdbRegisterKind.Xmm or GdbRegisterKind.Mxcsr => (byte)2,
            GdbRegisterKind.YmmHigh => (byte)4,
            _ => (byte)0,
        };
        switch (register.Kind)
        {
            case GdbRegisterKind.St:
                from.CopyTo(area[(StAt + (16 * register.Index))..]);
                break;
            case GdbRegisterKind.Xmm:
                from.CopyTo(area[(XmmAt + (16 * register.Index))..]);
                break;
            case GdbRegisterKind.YmmHigh:
                from.CopyTo(area[(YmmAt + (16 * register.Index))..]);
                break;
            default:
                Span<byte> word = stackalloc byte[8];
                word.Clear();
                from.CopyTo(word);
                SetValue(state, register, BinaryPrimitives.ReadUInt64LittleEndian(word));
                break;
        }
    }

    private static ulong Value(ArchitecturalState state, GdbRegister register) => register.Kind switch
    {
        GdbRegisterKind.General => state.Gpr[register.Index],
        GdbRegisterKind.InstructionPointer => state.CodeAddress,
        GdbRegisterKind.Flags => state.Rflags,
        GdbRegisterKind.Segment => state.Segments[register.Index].Selector,
        GdbRegisterKind.FpuControl => FpuControl(state.Extended, register.Index),
        GdbRegisterKind.Mxcsr => BinaryPrimitives.ReadUInt32LittleEndian(state.Extended.AsSpan(MxcsrAt)),
        GdbRegisterKind.SegmentBase => state.Segments[register.Index].Base,
        GdbRegisterKind.KernelGsBase => state.Msr.KernelGsBase,
        GdbRegisterKind.Cr0 => state.Cr0,
        GdbRegisterKind.Cr2 => state.Cr2,
        GdbRegisterKind.Cr3 => state.Cr3,
        GdbRegisterKind.Cr4 => state.Cr4,
        GdbRegisterKind.Cr8 => state.Cr8,
        GdbRegisterKind.Efer => state.Efer,
        GdbRegisterKind.Xcr0 => state.Xcr0,
        GdbRegisterKind.Debug => state.Dr[register.Index],
        GdbRegisterKind.Dr6 => state.Dr6,
        GdbRegisterKind.Dr7 => state.Dr7,
        _ => 0,
    };

    private static void SetValue(ArchitecturalState state, GdbRegister register, ulong value)
    {
        switch (register.Kind)
        {
            case GdbRegisterKind.General:
                state.Gpr[register.Index] = value;
                break;
            case GdbRegisterKind.InstructionPointer:
                state.Rip = state.CodeAddress == state.Rip ? value : (uint)(value - state.Segments[1].Base);
                break;
            case GdbRegisterKind.Flags:
                state.Rflags = value | 2;
                break;
            case GdbRegisterKind.Segment:
                state.Segments[register.Index].Selector = (ushort)value;
                if ((state.Cr0 & 1) == 0)
                    state.Segments[register.Index].Base = (uint)(ushort)value << 4;
                break;
            case GdbRegisterKind.FpuControl:
                SetFpuControl(state.Extended, register.Index, value);
                break;
            case GdbRegisterKind.Mxcsr:
                BinaryPrimitives.WriteUInt32LittleEndian(state.Extended.AsSpan(MxcsrAt), (uint)value & 0xffff);
                break;
            case GdbRegisterKind.SegmentBase:
                state.Segments[register.Index].Base = value;
                break;
            case GdbRegisterKind.KernelGsBase:
                state.Msr.KernelGsBase = value;
                break;
            case GdbRegisterKind.Cr0:
                state.Cr0 = value;
                break;
            case GdbRegisterKind.Cr2:
                state.Cr2 = value;
                break;
            case GdbRegisterKind.Cr3:
                state.Cr3 = value;
                break;
            case GdbRegisterKind.Cr4:
                state.Cr4 = value;
                break;
            case GdbRegisterKind.Cr8:
                state.Cr8 = value & 15;
                break;
            case GdbRegisterKind.Efer:
                state.Efer = value;
                break;
            case GdbRegisterKind.Debug:
                state.Dr[register.Index] = value;
                break;
            case GdbRegisterKind.Dr6:
                state.Dr6 = value;
                break;
            case GdbRegisterKind.Dr7:
                state.Dr7 = value;
                break;
        }
    }

    private static ulong FpuControl(ReadOnlySpan<byte> area, int index)
    {
        bool used = (area[HeaderAt] & 1) != 0;
        return index switch
        {
            0 => used ? BinaryPrimitives.ReadUInt16LittleEndian(area[FpuControlWord..]) : 0x37fu,
            1 => BinaryPrimitives.ReadUInt16LittleEndian(area[FpuStatusWord..]),
            2 => used ? FullTags(area[FpuTags]) : 0xffffu,
            4 => BinaryPrimitives.ReadUInt32LittleEndian(area[FpuIp..]),
            6 => BinaryPrimitives.ReadUInt32LittleEndian(area[FpuDp..]),
            7 => BinaryPrimitives.ReadUInt16LittleEndian(area[FpuOpcode..]),
            _ => 0,
        };
    }

    private static void SetFpuControl(Span<byte> area, int index, ulong value)
    {
        switch (index)
        {
            case 0:
                BinaryPrimitives.WriteUInt16LittleEndian(area[FpuControlWord..], (ushort)value);
                break;
            case 1:
                BinaryPrimitives.WriteUInt16LittleEndian(area[FpuStatusWord..], (ushort)value);
                break;
            case 2:
                byte tags = 0;
                for (int i = 0; i < 8; i++)
                    tags |= ((value >> (2 * i)) & 3) == 3 ? (byte)0 : (byte)(1 << i);
                area[FpuTags] = tags;
                break;
            case 7:
                BinaryPrimitives.WriteUInt16LittleEndian(area[FpuOpcode..], (ushort)(value & 0x7ff));
                break;
        }
    }

    /// <summary>The FNSTENV form of FXSAVE's tags: 0 in use, 3 empty.</summary>
    private static ulong FullTags(byte valid)
    {
        ulong tags = 0;
        for (int i = 0; i < 8; i++)
            tags |= ((valid >> i) & 1) != 0 ? 0 : 3UL << (2 * i);
        return tags;
    }

    private void AddSystem(int word)
    {
        string feature = _wide ? Segments : System;
        string type = _wide ? "int64" : "int32";
        Add("fs_base", word, type, feature, GdbRegisterKind.SegmentBase, 4);
        Add("gs_base", word, type, feature, GdbRegisterKind.SegmentBase, 5);
        if (_wide)
            Add("k_gs_base", word, type, System, GdbRegisterKind.KernelGsBase);
        Add("cr0", word, type, System, GdbRegisterKind.Cr0);
        Add("cr2", word, type, System, GdbRegisterKind.Cr2);
        Add("cr3", word, type, System, GdbRegisterKind.Cr3);
        Add("cr4", word, type, System, GdbRegisterKind.Cr4);
        Add("cr8", word, type, System, GdbRegisterKind.Cr8);
        Add("efer", word, type, System, GdbRegisterKind.Efer);
        Add("xcr0", word, type, System, GdbRegisterKind.Xcr0);
        for (int i = 0; i < 4; i++)
            Add($"dr{i}", word, type, System, GdbRegisterKind.Debug, i);
        Add("dr6", word, type, System, GdbRegisterKind.Dr6);
        Add("dr7", word, type, System, GdbRegisterKind.Dr7);
    }

    private void Add(string name, int bits, string type, string feature, GdbRegisterKind kind, int index = 0) =>
        _all.Add(new GdbRegister(name, bits, type, feature, kind, index));
}
