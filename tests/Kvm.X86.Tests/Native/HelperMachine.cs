using System.Runtime.InteropServices;
using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Tests.Native;

/// <summary>A processor without paging that runs one helper, and takes and gives its state in the layout of <see cref="NativeRunner"/>.</summary>
internal sealed unsafe class HelperMachine : IDisposable
{
    /// <summary>Where its 64 KiB of memory begin; the operand buffer is the page at this address.</summary>
    public const ulong MemoryBase = 0x10000;

    public const int MemorySize = 0x10000;

    private readonly nint _host = (nint)NativeMemory.AlignedAlloc(MemorySize, 4096);
    private readonly CpuContext _context;

    public HelperMachine()
    {
        new Span<byte>((void*)_host, MemorySize).Clear();
        GuestMemory memory = new([new GuestRegion(MemoryBase, MemorySize, _host)]);
        _context = new CpuContext(memory, new IoBus(), new IoBus());
        Reset();
    }

    public Cpu* Cpu => _context.Cpu;

    public CpuContext Context => _context;

    public byte* Host => (byte*)_host;

    /// <summary>MXCSR_MASK of the processor compared with.</summary>
    public uint MxcsrMask { get; set; } = 0xFFFF;

    /// <summary>Long mode with everything enabled that user space expects, exceptions recorded as none.</summary>
    public void Reset()
    {
        Cpu->Cr0 = Bits.Cr0Pe | Bits.Cr0Mp | Bits.Cr0Et | Bits.Cr0Ne;
        Cpu->Cr4 = Bits.Cr4OsFxsr | Bits.Cr4OsXmmExcpt | Bits.Cr4OsXsave;
        Cpu->Efer = Bits.EferLma | Bits.EferLme;
        Cpu->Xcr0 = 7;
        Cpu->Xss = 0;
        Cpu->Cpl = 0;
        Cpu->Segments[Seg.Cs].Attributes = 0x29b;
        Cpu->FaultVector = -1;
        Cpu->Mxcsr = 0x1F80;
        Cpu->PassThroughState = 0;
        LegacyArea.InitializeX87(Cpu);
        new Span<byte>((void*)Cpu->Extended, ArchitecturalState.ExtendedSize).Clear();
    }

    /// <summary>Takes registers, flags and extended state from an input block.</summary>
    public void Load(byte* block)
    {
        byte* area = block + NativeRunner.ExtendedIn;
        Buffer.MemoryCopy(area, (void*)Cpu->Extended, 4096, 832);
        *(uint*)(Cpu->Extended + 28) = MxcsrMask;
        LegacyArea.LoadX87(Cpu, area, wide: true);
        Cpu->Mxcsr = *(uint*)(area + 24);
        for (int i = 0; i < 16; i++)
            Cpu->Gpr[i] = ((ulong*)(block + NativeRunner.GprIn))[i];
        Cpu->FlagKind = FlagKind.Explicit;
        Cpu->Rflags = (uint)*(ulong*)(block + NativeRunner.FlagsIn);
        Cpu->FaultVector = -1;
    }

    /// <summary>Runs the helper of an instruction. The memory operand, if any, is at <paramref name="address"/>.</summary>
    public bool Run(in Instruction instruction, ulong address)
    {
        nint helper = HelperTable.Resolve(instruction.Code);
        if (helper == 0)
            throw new InvalidOperationException($"no helper for {instruction.Code}");
        Op op = Operation(instruction, address, Cpu);
        return ((delegate*<Cpu*, Op*, bool>)helper)(Cpu, &op);
    }

    /// <summary>The status flags, whichever way they are kept.</summary>
    public uint Flags => Cpu->Rflags & Bits.StatusFlags;

    public void Dispose()
    {
        _context.Dispose();
        NativeMemory.AlignedFree((void*)_host);
    }

    /// <summary>The op as the decoder promises it in <see cref="Op"/>'s documentation.</summary>
    private static Op Operation(in Instruction instruction, ulong address, Cpu* cpu)
    {
        Op op = default;
        op.CodeValue = (ushort)instruction.Code;
        op.Base = Slots.Temp;
        op.Index = Slots.Zero;
        op.LengthSegment = (byte)(instruction.Length | (Seg.Ds << 4));
        cpu->Gpr[Slots.Temp] = address;
        cpu->Gpr[Slots.Zero] = 0;
        OpCodeInfo info = instruction.OpCode;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            Register register = instruction.GetOpRegister(i);
            switch (info.GetOpKind(i))
            {
                case OpCodeOperandKind.imm8 or OpCodeOperandKind.imm4_m2z:
                    op.Imm8 |= instruction.Immediate8;
                    break;
                case OpCodeOperandKind.mem or OpCodeOperandKind.seg_rDI or OpCodeOperandKind.mem_vsib32x or OpCodeOperandKind.mem_vsib32y
                    or OpCodeOperandKind.mem_vsib64x or OpCodeOperandKind.mem_vsib64y:
                    if (info.GetOpKind(i) != OpCodeOperandKind.seg_rDI)
                        op.Rm = Op.Memory;
                    if (info.GetOpKind(i) >= OpCodeOperandKind.mem_vsib32x && info.GetOpKind(i) <= OpCodeOperandKind.mem_vsib64y)
                    {
                        op.Index = (byte)instruction.MemoryIndex.GetNumber();
                        op.Scale = (byte)System.Numerics.BitOperations.Log2((uint)instruction.MemoryIndexScale);
                    }
                    break;
                case OpCodeOperandKind.xmm_reg or OpCodeOperandKind.ymm_reg or OpCodeOperandKind.mm_reg or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg:
                    op.Reg = (byte)register.GetNumber();
                    break;
                case OpCodeOperandKind.xmm_vvvv or OpCodeOperandKind.ymm_vvvv:
                    op.V = (byte)register.GetNumber();
                    break;
                case OpCodeOperandKind.xmm_is4 or OpCodeOperandKind.ymm_is4 or OpCodeOperandKind.xmm_is5 or OpCodeOperandKind.ymm_is5:
                    op.Imm8 |= (byte)(register.GetNumber() << 4);
                    break;
                case OpCodeOperandKind.st0:
                    break;
                default:
                    op.Rm = instruction.GetOpKind(i) == OpKind.Memory ? Op.Memory
                        : register.IsGPR8() ? (byte)(register.GetNumber() * 8) : (byte)register.GetNumber();
                    break;
            }
        }
        return op;
    }
}
