using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Fpu;

/// <summary>
/// Every x87 instruction against the host's processor: registers, tags, TOP, status word with C1 and pending exceptions, memory. Exceptions
/// are masked or not at random: an unmasked one stays pending and harms nobody before the next waiting instruction.
/// </summary>
public unsafe class X87DifferentialTests
{
    /// <summary>Their results may differ from another processor's by one unit in the last place (SDM vol. 1, 8.3.10).</summary>
    private static readonly Mnemonic[] Transcendental =
    [
        Mnemonic.Fsin, Mnemonic.Fcos, Mnemonic.Fsincos, Mnemonic.Fptan, Mnemonic.Fpatan, Mnemonic.F2xm1, Mnemonic.Fyl2x, Mnemonic.Fyl2xp1,
    ];

    private static readonly Mnemonic[] Elsewhere = [Mnemonic.Fldenv, Mnemonic.Frstor, Mnemonic.Fbld, Mnemonic.Fprem, Mnemonic.Fprem1, Mnemonic.Fnstenv, Mnemonic.Fnsave, Mnemonic.Fnstsw];

    public static TheoryData<bool> Masking => [true, false];

    [SkippableTheory]
    [MemberData(nameof(Masking))]
    public void RandomStatesGiveWhatTheHostGives(bool masked)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: masked ? 21 : 22);
        differential.Adjust = (generator, block) => Prepare(generator, (byte*)block, masked);
        List<string> failures = [];
        foreach (Code code in Codes().Where(c => !Transcendental.Contains(c.Mnemonic()) && !Elsewhere.Contains(c.Mnemonic())))
        {
            // The manual clears C1 in FCOMI and its kin, this host's maker leaves it.
            differential.StatusMask = code.Mnemonic() is Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip ? (ushort)0xFDFF : (ushort)0xFFFF;
            string? failure = differential.Check(code, cases: 200);
            if (failure != null)
                failures.Add(failure);
        }
        failures.Should().BeEmpty();
    }

    [SkippableTheory]
    [InlineData(Code.Fsin)]
    [InlineData(Code.Fcos)]
    [InlineData(Code.Fsincos)]
    [InlineData(Code.Fptan)]
    [InlineData(Code.Fpatan)]
    [InlineData(Code.F2xm1)]
    [InlineData(Code.Fyl2x)]
    [InlineData(Code.Fyl2xp1)]
    public void TranscendentalsAreWithinOneUnitOfTheHosts(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 23);
        differential.Adjust = (generator, block) =>
        {
            Prepare(generator, (byte*)block, masked: true);
            Domain(generator, (byte*)block, code.Mnemonic());
        };
        differential.SameExtended = IsClose;
        // C1, and PE and UE where the exact result is representable, are the rounding's.
        differential.StatusMask = 0xFDCF;
        differential.Check(code, cases: 2500).Should().BeNull();
    }

    [SkippableTheory]
    [InlineData(Code.Fprem)]
    [InlineData(Code.Fprem1)]
    public void RemaindersIteratedToTheEndEqualTheHosts(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 24);
        differential.Adjust = (generator, block) =>
        {
            Prepare(generator, (byte*)block, masked: generator.Random.Next(2) == 0);
            // Exponents less than 64 apart: one step, which leaves no freedom.
            Near(generator, (byte*)block);
        };
        differential.Check(code, cases: 3000).Should().BeNull();
    }

    [SkippableTheory]
    [InlineData(Code.Fnstenv_m28byte)]
    [InlineData(Code.Fnstenv_m14byte)]
    [InlineData(Code.Fnsave_m108byte)]
    [InlineData(Code.Fnsave_m94byte)]
    public void StoredEnvironmentEqualsTheHosts(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 25);
        differential.Adjust = (generator, block) => Prepare(generator, (byte*)block, masked: false);
        bool wide = code is Code.Fnstenv_m28byte or Code.Fnsave_m108byte;
        // The addresses of the last instruction and operand.
        differential.IgnoreMemory = at => wide ? at is >= 12 and < 28 : at is >= 6 and < 14;
        differential.Check(code, cases: 500).Should().BeNull();
    }

    [SkippableTheory]
    [InlineData(Code.Fldenv_m28byte)]
    [InlineData(Code.Fldenv_m14byte)]
    [InlineData(Code.Frstor_m108byte)]
    [InlineData(Code.Frstor_m94byte)]
    [InlineData(Code.Fbld_m80bcd)]
    public void LoadedImageGivesTheHostsState(Code code)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 26);
        differential.Adjust = (generator, block) =>
        {
            Prepare(generator, (byte*)block, masked: true);
            byte* image = (byte*)block + NativeRunner.Memory + 0x40;
            for (int i = 0; i < 10 && code == Code.Fbld_m80bcd; i++)
                image[i] = (byte)(generator.Random.Next(10) | (generator.Random.Next(10) << 4));
        };
        differential.Check(code, cases: 1000).Should().BeNull();
    }

    /// <summary>Equal, or numbers of one sign at most one unit in the last place apart.</summary>
    private static bool IsClose(ulong a, ushort aSign, ulong b, ushort bSign)
    {
        if (a == b && aSign == bSign)
            return true;
        if (((aSign ^ bSign) & 0x8000) != 0 || (aSign & 0x7FFF) == 0x7FFF || (bSign & 0x7FFF) == 0x7FFF)
            return false;
        UInt128 left = new((ulong)(aSign & 0x7FFF), a << 1), right = new((ulong)(bSign & 0x7FFF), b << 1);
        return (left > right ? left - right : right - left) <= 2;
    }

    /// <summary>Operands where the manual defines the result.</summary>
    private static void Domain(StateGenerator generator, byte* block, Mnemonic mnemonic)
    {
        byte* st0 = block + 32;
        if (generator.Random.Next(8) == 0)
            return;
        if (mnemonic is Mnemonic.F2xm1 or Mnemonic.Fyl2xp1)
            *(ushort*)(st0 + 8) = (ushort)(0x3FFF - generator.Random.Next(mnemonic == Mnemonic.F2xm1 ? 1 : 3, 70) + (0x8000 * generator.Random.Next(2)));
        else if (mnemonic == Mnemonic.Fyl2x)
            *(ushort*)(st0 + 8) &= 0x7FFF;
    }

    private static void Near(StateGenerator generator, byte* block)
    {
        int first = *(ushort*)(block + 32 + 8) & 0x7FFF;
        if (first is 0 or 0x7FFF)
            return;
        int second = Math.Clamp(first + generator.Random.Next(-63, 40), 1, 0x7FFE);
        *(ushort*)(block + 48 + 8) = (ushort)(second | (0x8000 * generator.Random.Next(2)));
        *(ulong*)(block + 48) |= 1UL << 63;
        if (generator.Random.Next(4) == 0)
            *(ulong*)(block + 48) = *(ulong*)(block + 32);
    }

    private static IEnumerable<Code> Codes() => Enum.GetValues<Code>().Where(code =>
        code.CpuidFeatures().Any(f => f is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.FPU387SL_ONLY)
        && HelperTable.Resolve(code) != 0);

    private static void Prepare(StateGenerator generator, byte* block, bool masked)
    {
        Random random = generator.Random;
        ushort control = *(ushort*)block;
        if (!masked)
            control = (ushort)((control & ~0x3F) | random.Next(64));
        *(ushort*)block = control;
        // Flags already set must be masked, else the instruction would begin with #MF.
        ushort status = (ushort)((*(ushort*)(block + 2) & 0x7F00) | (random.Next(64) & control & 0x3F));
        *(ushort*)(block + 2) = status;
        // Mostly a full enough stack, sometimes empty registers.
        block[4] = random.Next(3) switch { 0 => (byte)random.Next(256), 1 => 0xFF, _ => (byte)~(1 << ((((status >> 11) & 7) + 7) & 7)) };
    }
}
