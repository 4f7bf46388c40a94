using Iced.Intel;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Fpu;

/// <summary>FXSAVE and the XSAVE family: against the host's processor where user mode may run them, and the clauses of SDM vol. 1, chapter 13.</summary>
public unsafe class ExtendedStateTests
{
    private const int Operand = 0x40;

    public static TheoryData<Code> Saving =>
        [Code.Fxsave64_m512byte, Code.Fxsave_m512byte, Code.Xsave64_mem, Code.Xsave_mem, Code.Xsavec64_mem, Code.Xsavec_mem];

    [SkippableTheory]
    [MemberData(nameof(Saving))]
    public void SavedImageEqualsTheHosts(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 7);
        differential.Adjust = (generator, block) => Mask(generator, (byte*)block);
        // Instruction and data pointers are kept by some processors only while an exception is pending.
        differential.IgnoreMemory = at => at is >= 6 and < 24;
        differential.Check(code, cases: 400).Should().BeNull();
    }

    public static TheoryData<Code> Restoring => [Code.Fxrstor64_m512byte, Code.Fxrstor_m512byte, Code.Xrstor64_mem, Code.Xrstor_mem];

    [SkippableTheory]
    [MemberData(nameof(Restoring))]
    public void RestoredStateEqualsTheHosts(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 8);
        differential.Adjust = (generator, block) =>
        {
            Mask(generator, (byte*)block);
            Image(generator, (byte*)block + NativeRunner.Memory + Operand);
        };
        differential.Check(code, cases: 600).Should().BeNull();
    }

    [Theory]
    [InlineData(Code.Xsave64_mem, false)]
    [InlineData(Code.Xsaveopt64_mem, false)]
    [InlineData(Code.Xsavec64_mem, true)]
    [InlineData(Code.Xsaves64_mem, true)]
    public void SaveThenRestoreGivesTheSameState_WithPassThroughComponents(Code save, bool compacted)
    {
        using HelperMachine machine = Wide();
        FillExtended(machine, 5);
        byte[] before = State(machine);
        Ask(machine, 0xE7);
        Run(machine, save).Should().BeTrue();
        ulong* header = (ulong*)(machine.Host + Operand + 512);
        header[0].Should().Be(0xE7UL);
        header[1].Should().Be(compacted ? 0x80000000000000E7 : 0);
        FillExtended(machine, 6);
        Run(machine, save == Code.Xsaves64_mem ? Code.Xrstors64_mem : Code.Xrstor64_mem).Should().BeTrue();
        State(machine).Should().Equal(before);
    }

    [Fact]
    public void CompactedFormatPacksComponents_AlignedOnesAt64()
    {
        XsaveLayout layout = Layout();
        layout.CompactedOffset(0xE7, 2).Should().Be(576);
        layout.CompactedOffset(0xE7, 5).Should().Be(832);
        layout.CompactedOffset(0xE7, 6).Should().Be(896);
        layout.CompactedOffset(0xE7, 7).Should().Be(1408);
        layout.CompactedOffset(0xE1, 5).Should().Be(576);
        layout.CompactedOffset(0x202, 9).Should().Be(576);
    }

    [Fact]
    public void XsaveoptLeavesComponentsInInitialConfigurationUnwritten()
    {
        using HelperMachine machine = Wide();
        new Span<byte>(machine.Host, 4096).Fill(0x55);
        *(ulong*)(machine.Host + Operand + 512) = 0;
        Ask(machine, 0xE7);
        Run(machine, Code.Xsaveopt64_mem).Should().BeTrue();
        (*(ulong*)(machine.Host + Operand + 512)).Should().Be(0);
        machine.Host[Operand].Should().Be(0x55);
        machine.Host[Operand + 576].Should().Be(0x55);
        (*(uint*)(machine.Host + Operand + 24)).Should().Be(0x1F80);
    }

    [Fact]
    public void AbsentComponentsAreInitialised_AndNotRequestedOnesStay()
    {
        using HelperMachine machine = Wide();
        FillExtended(machine, 9);
        byte opmask = *(byte*)(machine.Cpu->Extended + 832);
        new Span<byte>(machine.Host, 4096).Clear();
        *(uint*)(machine.Host + Operand + 24) = 0x1F80;
        Ask(machine, 7);
        Run(machine, Code.Xrstor64_mem).Should().BeTrue();
        machine.Cpu->X87Control.Should().Be(0x37F);
        machine.Cpu->X87Valid.Should().Be(0);
        new Span<byte>((byte*)machine.Cpu->Extended + 160, 256).ToArray().Should().OnlyContain(b => b == 0);
        new Span<byte>((byte*)machine.Cpu->Extended + 576, 256).ToArray().Should().OnlyContain(b => b == 0);
        (*(byte*)(machine.Cpu->Extended + 832)).Should().Be(opmask);
        machine.Cpu->PassThroughState.Should().Be(0xE0);
    }

    [Theory]
    [InlineData(8, 0, 0, "XSTATE_BV outside XCR0")]
    [InlineData(1, 1, 0, "XCOMP_BV not zero in standard format")]
    [InlineData(1, 0, 16, "bytes 16 to 23 of the header")]
    [InlineData(1, unchecked((long)0x8000000000000008), 0, "XCOMP_BV outside XCR0")]
    [InlineData(2, unchecked((long)0x8000000000000001), 0, "XSTATE_BV not in XCOMP_BV")]
    [InlineData(1, unchecked((long)0x8000000000000001), 56, "bytes 16 to 63 of the header in compacted format")]
    public void InvalidHeaderIsAProtectionFault_NothingChanges(long xstate, long xcomp, int dirty, string what)
    {
        using HelperMachine machine = Wide();
        FillExtended(machine, 3);
        byte[] before = State(machine);
        ulong* header = (ulong*)(machine.Host + Operand + 512);
        header[0] = (ulong)xstate;
        header[1] = (ulong)xcomp;
        if (dirty != 0)
            ((byte*)header)[dirty] = 1;
        Ask(machine, 0xE7);
        Run(machine, Code.Xrstor64_mem).Should().BeFalse(what);
        machine.Cpu->FaultVector.Should().Be(13);
        State(machine).Should().Equal(before);
    }

    [Theory]
    [InlineData(Code.Xrstor64_mem)]
    [InlineData(Code.Fxrstor64_m512byte)]
    public void ReservedMxcsrBitIsAProtectionFault(Code code)
    {
        using HelperMachine machine = Wide();
        *(uint*)(machine.Host + Operand + 24) = 0x80000000;
        Ask(machine, 2);
        Run(machine, code).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(13);
    }

    [Theory]
    [InlineData(Code.Xsave64_mem, 8)]
    [InlineData(Code.Xrstor64_mem, 32)]
    [InlineData(Code.Fxsave64_m512byte, 8)]
    [InlineData(Code.Fxrstor64_m512byte, 8)]
    public void UnalignedAreaIsAProtectionFault(Code code, int offset)
    {
        using HelperMachine machine = Wide();
        Run(machine, code, Operand + offset).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(13);
    }

    [Theory]
    [InlineData(Code.Xsave64_mem, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Xsave64_mem, 0UL, false, 6)]
    [InlineData(Code.Xrstor64_mem, 0UL, false, 6)]
    [InlineData(Code.Fxsave64_m512byte, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Fxrstor64_m512byte, Bits.Cr0Em, true, 7)]
    [InlineData(Code.Ldmxcsr_m32, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Ldmxcsr_m32, Bits.Cr0Em, true, 6)]
    [InlineData(Code.Pxor_xmm_xmmm128, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Pxor_xmm_xmmm128, Bits.Cr0Em, true, 6)]
    [InlineData(Code.Emms, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Emms, Bits.Cr0Em, true, 6)]
    [InlineData(Code.Wait, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.Fldcw_m2byte, Bits.Cr0Em, true, 7)]
    [InlineData(Code.VEX_Vpxor_xmm_xmm_xmmm128, Bits.Cr0Ts, true, 7)]
    [InlineData(Code.VEX_Vpxor_xmm_xmm_xmmm128, 0UL, false, 6)]
    public void MissingEnableFaults(Code code, ulong cr0, bool osxsave, int vector)
    {
        using HelperMachine machine = Wide();
        machine.Cpu->Cr0 |= cr0;
        if (!osxsave)
            machine.Cpu->Cr4 &= ~Bits.Cr4OsXsave;
        Run(machine, code).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(vector);
    }

    [Theory]
    [InlineData(Code.Xsaves64_mem)]
    [InlineData(Code.Xrstors64_mem)]
    public void SupervisorFormsFaultInUserMode(Code code)
    {
        using HelperMachine machine = Wide();
        machine.Cpu->Cpl = 3;
        Run(machine, code).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(13);
    }

    [Fact]
    public void XrstorsRefusesTheStandardFormat()
    {
        using HelperMachine machine = Wide();
        *(uint*)(machine.Host + Operand + 24) = 0x1F80;
        Ask(machine, 3);
        Run(machine, Code.Xrstors64_mem).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(13);
    }

    private static XsaveLayout Layout() => new(
    [
        new XsaveComponent(2, 576, 256, false, false), new XsaveComponent(5, 832, 64, true, false),
        new XsaveComponent(6, 896, 512, true, false), new XsaveComponent(7, 1408, 1024, true, false), new XsaveComponent(9, 2432, 8, false, false),
    ]);

    private static HelperMachine Wide()
    {
        HelperMachine machine = new();
        machine.Context.Xsave = Layout();
        machine.Cpu->Xcr0 = 0xE7;
        return machine;
    }

    private static void FillExtended(HelperMachine machine, int seed)
    {
        Random random = new(seed);
        random.NextBytes(new Span<byte>((byte*)machine.Cpu->Extended + 160, 256));
        random.NextBytes(new Span<byte>((byte*)machine.Cpu->Extended + 576, 2432 - 576));
        machine.Cpu->PassThroughState = 0xE0;
        X87.SetControlWord(machine.Cpu, 0x27F);
        X87.SetStatusWord(machine.Cpu, (ushort)(seed << 11));
        machine.Cpu->X87Valid = (byte)random.Next(256);
        for (int i = 0; i < 8; i++)
            machine.Cpu->X87[i] = new X87Register { Significand = (ulong)random.NextInt64(), SignExponent = (ushort)random.Next(65536) };
        machine.Cpu->Mxcsr = 0x1FA0u + (uint)seed;
    }

    private static byte[] State(HelperMachine machine)
    {
        byte[] state = new byte[2432];
        new Span<byte>((byte*)machine.Cpu->Extended, 2432).CopyTo(state);
        fixed (byte* area = state)
        {
            new Span<byte>(area, 160).Clear();
            new Span<byte>(area + 416, 160).Clear();
            LegacyArea.SaveX87(machine.Cpu, area, true);
            LegacyArea.SaveMxcsr(machine.Cpu, area);
        }
        return state;
    }

    private static void Ask(HelperMachine machine, ulong components)
    {
        machine.Cpu->Gpr[0] = components;
        machine.Cpu->Gpr[2] = 0;
    }

    private static bool Run(HelperMachine machine, Code code, int at = Operand)
    {
        Instruction instruction = InstructionForms.Of(code, new Random(1)).First();
        return machine.Run(InstructionForms.Encode(ref instruction), HelperMachine.MemoryBase + (ulong)at);
    }

    private static void Mask(StateGenerator generator, byte* block)
    {
        ulong* general = (ulong*)(block + NativeRunner.GprIn);
        general[0] = (uint)generator.Random.Next(8);
        general[2] = 0;
        // Some components in their initial configuration.
        if (generator.Random.Next(3) == 0)
            new Span<byte>(block + 576, 256).Clear();
        if (generator.Random.Next(4) == 0)
            *(uint*)(block + 24) = 0x1F80;
        *(ulong*)(block + NativeRunner.Memory + Operand + 512) &= 0x7;
    }

    /// <summary>A valid image, standard or compacted.</summary>
    private static void Image(StateGenerator generator, byte* area)
    {
        Random random = generator.Random;
        for (int i = 32; i < 160; i += 16)
            generator.Extended(area + i);
        for (int i = 160; i < 416; i += 16)
            generator.Vector(area + i);
        for (int i = 576; i < 832; i += 16)
            generator.Vector(area + i);
        *(ushort*)area = (ushort)random.Next(0x10000);
        *(ushort*)(area + 2) = (ushort)random.Next(0x10000);
        *(uint*)(area + 4) = (byte)random.Next(256);
        *(ulong*)(area + 8) = 0;
        *(ulong*)(area + 16) = 0;
        *(uint*)(area + 24) = 0x1F80u | (uint)random.Next(64);
        new Span<byte>(area + 512, 64).Clear();
        ulong xstate = (uint)random.Next(8);
        *(ulong*)(area + 512) = xstate;
        if (random.Next(2) == 0)
            *(ulong*)(area + 520) = 0x8000000000000000 | xstate | (uint)random.Next(8);
    }
}
