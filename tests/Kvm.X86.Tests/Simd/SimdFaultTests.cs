using System.Runtime.Intrinsics;
using Iced.Intel;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.Execute.Simd;
using Kvm.X86.State;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Simd;

/// <summary>Exceptions of vector instructions that a test process cannot take from its host: #XM, #GP, #PF, #MF.</summary>
public unsafe class SimdFaultTests
{
    private const ulong One = 0x3FF0000000000000, Three = 0x4008000000000000, Denormal = 1, SignalingNaN = 0x7FF0000000000001, Huge = 0x7FEFFFFFFFFFFFFF;

    [Theory]
    [InlineData(Code.Divsd_xmm_xmmm64, One, 0UL, 0x04u)]
    [InlineData(Code.Divsd_xmm_xmmm64, One, Three, 0x20u)]
    [InlineData(Code.Addsd_xmm_xmmm64, One, SignalingNaN, 0x01u)]
    [InlineData(Code.Addsd_xmm_xmmm64, One, Denormal, 0x02u)]
    [InlineData(Code.Mulsd_xmm_xmmm64, Huge, Three, 0x08u)]
    [InlineData(Code.Mulsd_xmm_xmmm64, Denormal | 0x0010000000000000, 0x3CA0000000000000, 0x10u)]
    [InlineData(Code.Sqrtsd_xmm_xmmm64, One, Three | 0x8000000000000000, 0x01u)]
    [InlineData(Code.Comisd_xmm_xmmm64, One, 0x7FF8000000000000, 0x01u)]
    [InlineData(Code.Cvtsd2ss_xmm_xmmm64, One, Huge, 0x08u)]
    [InlineData(Code.Cvttsd2si_r32_xmmm64, One, Huge, 0x01u)]
    public void UnmaskedExceptionIsXm_FlagSet_DestinationKept(Code code, ulong first, ulong second, uint flag)
    {
        using HelperMachine machine = new();
        Instruction instruction = Form(code);
        SetLow(machine, 9, first);
        SetLow(machine, 2, second);
        machine.Cpu->Gpr[6] = 0x1234;
        machine.Cpu->Mxcsr = 0x1F80 & ~(flag << 7);
        Run(machine, instruction).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(19);
        (machine.Cpu->Mxcsr & flag).Should().Be(flag);
        Low(machine, 9).Should().Be(first);
        machine.Cpu->Gpr[6].Should().Be(0x1234);
    }

    [Fact]
    public void UnmaskedExceptionWithoutOsxmmexcptIsUd()
    {
        using HelperMachine machine = new();
        machine.Cpu->Cr4 &= ~Bits.Cr4OsXmmExcpt;
        machine.Cpu->Mxcsr = 0x1F80 & ~(4u << 7);
        SetLow(machine, 9, One);
        Run(machine, Form(Code.Divsd_xmm_xmmm64)).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(6);
    }

    [Fact]
    public void PackedUnmaskedPreComputation_ReportsNoPostComputationFlags()
    {
        // One element divides by zero, the other is inexact: ZE unmasked hides PE (SDM vol. 1, 11.5.3).
        using HelperMachine machine = new();
        machine.Cpu->Mxcsr = 0x1F80 & ~(4u << 7);
        SetLow(machine, 9, One);
        SetHigh(machine, 9, One);
        SetLow(machine, 2, 0);
        SetHigh(machine, 2, Three);
        Run(machine, Form(Code.Divpd_xmm_xmmm128)).Should().BeFalse();
        (machine.Cpu->Mxcsr & 0x3F).Should().Be(4);
        Low(machine, 9).Should().Be(One);
    }

    [Fact]
    public void PackedUnmaskedPostComputation_ReportsAllFlags()
    {
        using HelperMachine machine = new();
        machine.Cpu->Mxcsr = 0x1F80 & ~(0x20u << 7);
        SetLow(machine, 9, One);
        SetHigh(machine, 9, One);
        SetLow(machine, 2, 0);
        SetHigh(machine, 2, Three);
        Run(machine, Form(Code.Divpd_xmm_xmmm128)).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(19);
        (machine.Cpu->Mxcsr & 0x3F).Should().Be(0x24);
    }

    [Theory]
    [InlineData(Code.Movaps_xmm_xmmm128, true)]
    [InlineData(Code.Movdqa_xmmm128_xmm, true)]
    [InlineData(Code.Paddb_xmm_xmmm128, true)]
    [InlineData(Code.Addps_xmm_xmmm128, true)]
    [InlineData(Code.Movntdq_m128_xmm, true)]
    [InlineData(Code.Pshufd_xmm_xmmm128_imm8, true)]
    [InlineData(Code.VEX_Vmovaps_xmm_xmmm128, true)]
    [InlineData(Code.VEX_Vmovdqa_ymm_ymmm256, true)]
    [InlineData(Code.Movups_xmm_xmmm128, false)]
    [InlineData(Code.Lddqu_xmm_m128, false)]
    [InlineData(Code.Pcmpistri_xmm_xmmm128_imm8, false)]
    [InlineData(Code.Movsd_xmm_xmmm64, false)]
    [InlineData(Code.Cvtps2pd_xmm_xmmm64, false)]
    [InlineData(Code.VEX_Vpaddb_xmm_xmm_xmmm128, false)]
    [InlineData(Code.VEX_Vaddps_ymm_ymm_ymmm256, false)]
    public void UnalignedOperandFaultsWhereTheManualSaysSo(Code code, bool faults)
    {
        using HelperMachine machine = new();
        Run(machine, Form(code, memory: true), 0x108).Should().Be(!faults);
        machine.Cpu->FaultVector.Should().Be(faults ? 13 : -1);
    }

    [Fact]
    public void AlignedTo16ButNot32IsNotEnoughForVmovdqaYmm()
    {
        using HelperMachine machine = new();
        Run(machine, Form(Code.VEX_Vmovdqa_ymm_ymmm256, memory: true), 0x110).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(13);
    }

    [Theory]
    [InlineData(Code.Paddb_mm_mmm64)]
    [InlineData(Code.Movq_mm_mmm64)]
    [InlineData(Code.Emms)]
    [InlineData(Code.Fadd_st0_sti)]
    [InlineData(Code.Fldcw_m2byte)]
    [InlineData(Code.Wait)]
    public void PendingX87ErrorIsMf_AndNothingHappens(Code code)
    {
        using HelperMachine machine = new();
        X87.SetControlWord(machine.Cpu, 0x37E);
        X87.SetStatusWord(machine.Cpu, 1);
        machine.Cpu->X87Valid = 0x0F;
        Run(machine, Form(code)).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(16);
        machine.Cpu->X87Valid.Should().Be(0x0F);
    }

    [Theory]
    [InlineData(Code.Fninit)]
    [InlineData(Code.Fnclex)]
    [InlineData(Code.Fnstcw_m2byte)]
    [InlineData(Code.Fxsave64_m512byte)]
    public void NonWaitingInstructionsIgnoreAPendingError(Code code)
    {
        using HelperMachine machine = new();
        X87.SetControlWord(machine.Cpu, 0x37E);
        X87.SetStatusWord(machine.Cpu, 1);
        Run(machine, Form(code)).Should().BeTrue();
    }

    [Fact]
    public void FnstswGivesTheStatusWordInAx()
    {
        using HelperMachine machine = new();
        X87.SetControlWord(machine.Cpu, 0x37E);
        X87.SetStatusWord(machine.Cpu, 0x7B01);
        machine.Cpu->Gpr[0] = 0xAAAA_BBBB_CCCC_DDDD;
        machine.Run([0xDF, 0xE0], HelperMachine.MemoryBase).Should().BeTrue();
        machine.Cpu->Gpr[0].Should().Be(0xAAAA_BBBB_CCCC_FB81);
    }

    [Fact]
    public void WithoutCr0NeAPendingErrorDoesNotFault()
    {
        using HelperMachine machine = new();
        machine.Cpu->Cr0 &= ~Bits.Cr0Ne;
        X87.SetControlWord(machine.Cpu, 0x37E);
        X87.SetStatusWord(machine.Cpu, 1);
        Run(machine, Form(Code.Wait)).Should().BeTrue();
    }

    [Theory]
    [InlineData(false, true, true)]
    [InlineData(true, false, true)]
    [InlineData(true, true, false)]
    public void FwaitIsNmOnlyWithMpAndTs(bool mp, bool ts, bool runs)
    {
        using HelperMachine machine = new();
        machine.Cpu->Cr0 = Bits.Cr0Pe | Bits.Cr0Ne | (mp ? Bits.Cr0Mp : 0) | (ts ? Bits.Cr0Ts : 0);
        Run(machine, Form(Code.Wait)).Should().Be(runs);
        machine.Cpu->FaultVector.Should().Be(runs ? -1 : 7);
    }

    [Theory]
    [InlineData(Code.Xsave64_mem, 0xDC0)]
    [InlineData(Code.Xsavec64_mem, 0xD00)]
    [InlineData(Code.Fxsave64_m512byte, 0xF00)]
    [InlineData(Code.Fnsave_m108byte, 0xFC0)]
    [InlineData(Code.Movups_xmmm128_xmm, 0xFF8)]
    [InlineData(Code.VEX_Vmovups_ymmm256_ymm, 0xFF0)]
    [InlineData(Code.Fstp_m80fp, 0xFFA)]
    public void StoreAcrossIntoAnAbsentPageFaults_NothingIsWritten(Code code, int offset)
    {
        using HelperMachine machine = new();
        machine.EnablePaging(absent: 1);
        new Span<byte>(machine.Host, 0x2000).Fill(0x5A);
        *(ulong*)(machine.Host + offset + 512) = 0;
        byte[] before = new Span<byte>(machine.Host, 0x2000).ToArray();
        machine.Cpu->X87Valid = 0xFF;
        machine.Cpu->Gpr[0] = 7;
        machine.Cpu->Gpr[2] = 0;
        new Span<byte>((byte*)machine.Cpu->Extended + 160, 700).Fill(0x77);
        Run(machine, Form(code, memory: true), offset).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(14);
        machine.Cpu->FaultAddress.Should().Be(HelperMachine.MemoryBase + 0x1000);
        new Span<byte>(machine.Host, 0x2000).ToArray().Should().Equal(before);
        machine.Cpu->X87Valid.Should().Be(0xFF);
    }

    [Fact]
    public void VexIsUdInRealMode()
    {
        using HelperMachine machine = new();
        machine.EnterRealMode();
        machine.Run([0xC5, 0xF9, 0xEF, 0xC0], HelperMachine.MemoryBase).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(6);
    }

    [Fact]
    public void RealModeEnvironmentHasLinearAddressesAndTheOpcode()
    {
        using HelperMachine machine = new();
        machine.EnterRealMode();
        X87.SetControlWord(machine.Cpu, 0x37E);
        machine.Cpu->X87Valid = 0;
        // FADD ST(0), ST(2) on an empty stack: invalid, unmasked; then FNSTENV [BX] with the 16-bit layout.
        machine.Run([0xD8, 0xC2], 0x10200).Should().BeTrue();
        machine.Cpu->Gpr[3] = 0x200;
        machine.Run([0xD9, 0x37], 0x200).Should().BeTrue();
        ushort* image = (ushort*)(machine.Host + 0x200);
        image[0].Should().Be(0x37E);
        image[1].Should().Be(0x80C1 | 0x0000);
        image[2].Should().Be(0xFFFF);
        image[3].Should().Be(0x8000);
        image[4].Should().Be(0x10C2);
        image[5].Should().Be(0);
    }

    [Fact]
    public void ByteShuffleWithoutPshufbIsTheSame()
    {
        Random random = new(3);
        Span<byte> bytes = stackalloc byte[32];
        for (int i = 0; i < 500; i++)
        {
            random.NextBytes(bytes);
            Vector128<byte> a = Vector128.Create<byte>(bytes[..16]), b = Vector128.Create<byte>(bytes[16..]);
            ShuffleBytes.Portable(a, b).Should().Be(ShuffleBytes.Apply(a, b));
        }
    }

    [Fact]
    public void MaskedMovesDoNotTouchMaskedElementsOnAnAbsentPage()
    {
        using HelperMachine machine = new();
        machine.EnablePaging(absent: 1);
        SetLow(machine, 14, 0x80000000_80000000);
        SetHigh(machine, 14, 0);
        SetLow(machine, 9, 0x1122334455667788);
        Run(machine, Form(Code.VEX_Vmaskmovps_m128_xmm_xmm, memory: true), 0xFF8).Should().BeTrue();
        (*(ulong*)(machine.Host + 0xFF8)).Should().Be(0x1122334455667788);
        Run(machine, Form(Code.VEX_Vmaskmovps_xmm_xmm_m128, memory: true), 0xFF8).Should().BeTrue();
        SetHigh(machine, 14, 0x80000000);
        Run(machine, Form(Code.VEX_Vmaskmovps_xmm_xmm_m128, memory: true), 0xFF8).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(14);
    }

    [Fact]
    public void GatherKeepsWhatItReadBeforeTheFault_AndItsMasks()
    {
        using HelperMachine machine = new();
        machine.EnablePaging(absent: 1);
        *(uint*)(machine.Host + 0x100) = 0xABCD;
        *(ulong*)(machine.Cpu->Extended + 160 + 32) = 0x1000_0000_0000;
        SetLow(machine, 14, ulong.MaxValue);
        SetLow(machine, 9, 0x99);
        // Index 0 reads the present page, index 1 (1000h) the absent one.
        *(uint*)(machine.Cpu->Extended + 160 + 36) = 0x1000;
        *(uint*)(machine.Cpu->Extended + 160 + 32) = 0;
        Run(machine, Form(Code.VEX_Vpgatherdd_xmm_vm32x_xmm, memory: true), 0x100).Should().BeFalse();
        machine.Cpu->FaultVector.Should().Be(14);
        ((uint)Low(machine, 9)).Should().Be(0xABCD);
        Low(machine, 14).Should().Be(0xFFFFFFFF_00000000);
    }

    private static Instruction Form(Code code, bool memory = false) =>
        InstructionForms.Of(code, new Random(1)).First(i => memory == (i.MemoryBase == InstructionForms.Pointer) || i.OpCount == 0 || i.Op0Kind == OpKind.Memory);

    private static bool Run(HelperMachine machine, Instruction instruction, int offset = 0x100) =>
        machine.Run(InstructionForms.Encode(ref instruction), HelperMachine.MemoryBase + (ulong)offset);

    private static ulong Low(HelperMachine machine, int register) => *(ulong*)(machine.Cpu->Extended + 160 + (16 * register));

    private static void SetLow(HelperMachine machine, int register, ulong value) => *(ulong*)(machine.Cpu->Extended + 160 + (16 * register)) = value;

    private static void SetHigh(HelperMachine machine, int register, ulong value) => *(ulong*)(machine.Cpu->Extended + 168 + (16 * register)) = value;
}
