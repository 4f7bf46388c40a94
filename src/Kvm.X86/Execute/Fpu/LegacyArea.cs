// Invariants: `area` is at least 512 bytes of the caller's; Cpu.Extended as in Xmm.cs; the inline array X87 has eight elements.
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>The 512 bytes FXSAVE and the XSAVE family share (SDM vol. 1, 10.5 and 13.4.1).</summary>
internal static unsafe class LegacyArea
{
    /// <summary>Bytes of the area.</summary>
    public const int Size = 512;

    /// <summary>MXCSR and its mask, and the first XMM register.</summary>
    public const int MxcsrOffset = 24, MaskOffset = 28, RegistersOffset = 32, XmmOffset = 160;

    /// <summary>Bytes 0–23 and 32–159. <paramref name="wide"/>: 64-bit instruction and data pointers (REX.W).</summary>
    public static void SaveX87(Cpu* cpu, byte* area, bool wide)
    {
        *(ushort*)area = cpu->X87Control;
        *(ushort*)(area + 2) = X87.StatusWord(cpu);
        area[4] = cpu->X87Valid;
        area[5] = 0;
        *(ushort*)(area + 6) = cpu->X87Opcode;
        // The 32-bit form has selectors above the offsets; processors that deprecate them store zero (CPUID 7.0 EBX bit 13).
        *(ulong*)(area + 8) = wide ? cpu->X87InstructionPointer : (uint)cpu->X87InstructionPointer;
        *(ulong*)(area + 16) = wide ? cpu->X87DataPointer : (uint)cpu->X87DataPointer;
        for (int i = 0; i < 8; i++)
        {
            X87Register register = cpu->X87[X87.Physical(cpu, i)];
            byte* at = area + RegistersOffset + (16 * i);
            *(ulong*)at = register.Significand;
            *(ulong*)(at + 8) = register.SignExponent;
        }
    }

    public static void LoadX87(Cpu* cpu, byte* area, bool wide)
    {
        X87.SetControlWord(cpu, *(ushort*)area);
        X87.SetStatusWord(cpu, *(ushort*)(area + 2));
        cpu->X87Valid = area[4];
        cpu->X87Opcode = (ushort)(*(ushort*)(area + 6) & 0x7FF);
        cpu->X87InstructionPointer = wide ? *(ulong*)(area + 8) : *(uint*)(area + 8);
        cpu->X87DataPointer = wide ? *(ulong*)(area + 16) : *(uint*)(area + 16);
        for (int i = 0; i < 8; i++)
        {
            byte* at = area + RegistersOffset + (16 * i);
            ref X87Register register = ref cpu->X87[X87.Physical(cpu, i)];
            register.Significand = *(ulong*)at;
            register.SignExponent = *(ushort*)(at + 8);
        }
    }

    /// <summary>MXCSR and its mask.</summary>
    public static void SaveMxcsr(Cpu* cpu, byte* area)
    {
        *(uint*)(area + MxcsrOffset) = cpu->Mxcsr;
        *(uint*)(area + MaskOffset) = ControlHelpers.MxcsrMask(cpu);
    }

    /// <summary>True when no x87 register or setting differs from what FNINIT leaves (XINUSE[0] is clear then).</summary>
    public static bool IsX87Initial(Cpu* cpu)
    {
        if (cpu->X87Control != X87.InitialControl || cpu->X87Status != 0 || cpu->X87Top != 0 || cpu->X87Valid != 0
            || (cpu->X87Opcode | cpu->X87InstructionPointer | cpu->X87DataPointer) != 0)
            return false;
        for (int i = 0; i < 8; i++)
        {
            if ((cpu->X87[i].Significand | cpu->X87[i].SignExponent) != 0)
                return false;
        }
        return true;
    }

    /// <summary>The initial configuration of component 0: FNINIT, and registers zero.</summary>
    public static void InitializeX87(Cpu* cpu)
    {
        X87.Initialize(cpu);
        for (int i = 0; i < 8; i++)
            cpu->X87[i] = default;
    }
}
