// Invariants: X87Top is 0-7; a Cpu* is valid while its CpuContext is; the inline array X87 has eight elements and is indexed modulo 8.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>The x87's stack, tags, status word and exceptions (SDM vol. 1, 8.1 and 8.5–8.7).</summary>
internal static unsafe class X87
{
    /// <summary>Status word bits. ES and B always follow "an unmasked exception is pending".</summary>
    public const ushort StackFault = 0x40, ErrorSummary = 0x80, C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000, Busy = 0x8000;

    /// <summary>C0, C1, C2, C3.</summary>
    public const ushort Conditions = C0 | C1 | C2 | C3;

    /// <summary>Control word after FNINIT.</summary>
    public const ushort InitialControl = 0x37F;

    /// <summary>Non-waiting instructions: #NM with CR0.EM or CR0.TS.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Available(Cpu* cpu) =>
        (cpu->Cr0 & (Bits.Cr0Em | Bits.Cr0Ts)) == 0 || Fault.Raise(cpu, State.Vector.DeviceNotAvailable);

    /// <summary>Waiting instructions: also #MF when an unmasked exception is pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Ready(Cpu* cpu) =>
        ((cpu->Cr0 & (Bits.Cr0Em | Bits.Cr0Ts)) | (cpu->X87Status & (uint)ErrorSummary)) == 0 || NotReady(cpu);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool NotReady(Cpu* cpu) => Available(cpu) && RaisePending(cpu);

    /// <summary>
    /// #MF. With CR0.NE clear the error goes out on FERR# and the instruction waits for IGNNE# (SDM vol. 1, 8.7.2): no chipset here
    /// listens, so it is as if IGNNE# were asserted. True means: go on.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool RaisePending(Cpu* cpu) =>
        (cpu->Cr0 & Bits.Cr0Ne) == 0 || Fault.Raise(cpu, State.Vector.X87Error);

    /// <summary>A source register is empty: invalid, SF, C1 clear.</summary>
    public const uint Underflow = FloatFlags.StackFault | FloatFlags.Invalid;

    /// <summary>The register a push would take is not empty: invalid, SF, C1 set.</summary>
    public const uint StackOverflow = FloatFlags.StackFault | FloatFlags.Invalid | FloatFlags.RoundedUp;

    /// <summary>Whether an instruction that raises these may write its register result: no unmasked pre-computation exception.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool MayWrite(Cpu* cpu, uint flags) => (flags & ~(uint)cpu->X87Control & FloatFlags.PreComputation) == 0;

    /// <summary>The same for a result in memory, which unmasked overflow and underflow keep back as well.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool MayStore(Cpu* cpu, uint flags) =>
        (flags & ~(uint)cpu->X87Control & (FloatFlags.PreComputation | FloatFlags.Overflow | FloatFlags.Underflow)) == 0;

    /// <summary>
    /// Ends an instruction: exceptions accumulate, C1 is what the instruction made it, an unmasked exception becomes pending. Notes
    /// where the instruction and its operand were (SDM vol. 1, 8.1.8).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Commit(Cpu* cpu, Op* op, uint flags)
    {
        cpu->X87InstructionPointer = ((ulong*)cpu)[Slots.CodeBase] + op->Offset;
        if (op->Rm == Op.Memory)
            cpu->X87DataPointer = Ea.Of(cpu, op);
        cpu->X87Status = (ushort)(((uint)cpu->X87Status & ~(uint)C1) | (flags & (0x7F | C1)));
        if ((flags & ~(uint)cpu->X87Control & FloatFlags.All) != 0)
            Pend(cpu, op);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Pend(Cpu* cpu, Op* op)
    {
        cpu->X87Status |= ErrorSummary | Busy;
        cpu->X87Opcode = OpcodeOf(cpu, op);
    }

    /// <summary>
    /// The low eleven bits of the opcode, from the instruction's bytes: kept for unmasked exceptions only, as processors do by default
    /// (SDM vol. 1, 8.1.9.1).
    /// </summary>
    private static ushort OpcodeOf(Cpu* cpu, Op* op)
    {
        byte* bytes = stackalloc byte[16];
        ulong linear = ((ulong*)cpu)[Slots.CodeBase] + op->Offset;
        if (!FxsaveHelpers.Is64Bit(cpu))
            linear += cpu->Segments[Seg.Cs].Base;
        if (op->Length < 2 || !Mem.TryReadBytes(cpu, op, linear, bytes, op->Length))
        {
            cpu->FaultVector = -1;
            return 0;
        }
        for (int i = 0; i + 1 < op->Length; i++)
        {
            // Prefixes are none of D8 to DF.
            if ((bytes[i] & 0xF8) == 0xD8)
                return (ushort)(((bytes[i] & 7) << 8) | bytes[i + 1]);
        }
        return 0;
    }

    /// <summary>The conditions C0, C2 and C3 replaced by those given, C1 left.</summary>
    public static void SetConditions(Cpu* cpu, uint conditions) =>
        cpu->X87Status = (ushort)(((uint)cpu->X87Status & ~(uint)(C0 | C2 | C3)) | conditions);

    /// <summary>Number of the physical register of ST(i).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Physical(Cpu* cpu, int i) => (cpu->X87Top + i) & 7;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsEmpty(Cpu* cpu, int i) => ((cpu->X87Valid >> Physical(cpu, i)) & 1) == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 Get(Cpu* cpu, int i)
    {
        ref X87Register register = ref cpu->X87[Physical(cpu, i)];
        return new Float80(register.SignExponent, register.Significand);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(Cpu* cpu, int i, Float80 value)
    {
        int number = Physical(cpu, i);
        ref X87Register register = ref cpu->X87[number];
        register.Significand = value.Significand;
        register.SignExponent = value.SignExponent;
        cpu->X87Valid |= (byte)(1 << number);
    }

    public static void Pop(Cpu* cpu)
    {
        cpu->X87Valid &= (byte)~(1 << cpu->X87Top);
        cpu->X87Top = (byte)((cpu->X87Top + 1) & 7);
    }

    /// <summary>Moves TOP down and writes the new ST(0); the caller has looked whether the register was empty.</summary>
    public static void Push(Cpu* cpu, Float80 value)
    {
        cpu->X87Top = (byte)((cpu->X87Top - 1) & 7);
        Set(cpu, 0, value);
    }

    /// <summary>FSW as software sees it.</summary>
    public static ushort StatusWord(Cpu* cpu) => (ushort)((cpu->X87Status & ~0x3800) | (cpu->X87Top << 11));

    /// <summary>Sets status word and TOP from an image; ES and B follow the control word in force.</summary>
    public static void SetStatusWord(Cpu* cpu, ushort value)
    {
        cpu->X87Top = (byte)((value >> 11) & 7);
        cpu->X87Status = (ushort)(value & ~0x3800);
        UpdateSummary(cpu);
    }

    /// <summary>Makes ES and B tell whether an unmasked exception is pending.</summary>
    public static void UpdateSummary(Cpu* cpu)
    {
        int status = cpu->X87Status & ~(ErrorSummary | Busy);
        if ((status & ~cpu->X87Control & 0x3F) != 0)
            status |= ErrorSummary | Busy;
        cpu->X87Status = (ushort)status;
    }

    /// <summary>Control word as kept: bit 6 reads one, reserved bits zero.</summary>
    public static void SetControlWord(Cpu* cpu, ushort value)
    {
        cpu->X87Control = (ushort)((value & 0x1F3F) | 0x40);
        UpdateSummary(cpu);
    }

    /// <summary>FNINIT: also what an initialised x87 component is.</summary>
    public static void Initialize(Cpu* cpu)
    {
        cpu->X87Control = InitialControl;
        cpu->X87Status = 0;
        cpu->X87Top = 0;
        cpu->X87Valid = 0;
        cpu->X87Opcode = 0;
        cpu->X87InstructionPointer = 0;
        cpu->X87DataPointer = 0;
    }

    /// <summary>The full tag word, made from the contents (SDM vol. 1, 8.1.7).</summary>
    public static ushort TagWord(Cpu* cpu)
    {
        int tags = 0;
        for (int i = 0; i < 8; i++)
            tags |= Tag(cpu, i) << (2 * i);
        return (ushort)tags;
    }

    private static int Tag(Cpu* cpu, int number)
    {
        if (((cpu->X87Valid >> number) & 1) == 0)
            return 3;
        ref X87Register register = ref cpu->X87[number];
        int exponent = register.SignExponent & 0x7FFF;
        if (exponent == 0)
            return register.Significand == 0 ? 1 : 2;
        return exponent == 0x7FFF || (register.Significand >> 63) == 0 ? 2 : 0;
    }

    /// <summary>Takes emptiness from a full tag word; the rest of it is made from the contents when read.</summary>
    public static void SetTagWord(Cpu* cpu, ushort tags)
    {
        int valid = 0;
        for (int i = 0; i < 8; i++)
            valid |= ((tags >> (2 * i)) & 3) != 3 ? 1 << i : 0;
        cpu->X87Valid = (byte)valid;
    }
}
