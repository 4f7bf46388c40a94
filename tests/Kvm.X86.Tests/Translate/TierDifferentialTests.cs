using Iced.Intel;

namespace Kvm.X86.Tests.Translate;

/// <summary>The second tier against the first.</summary>
public sealed class TierDifferentialTests
{
    private static readonly HashSet<Mnemonic> Integer =
    [
        Mnemonic.Add, Mnemonic.Or, Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Sub, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test,
        Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg, Mnemonic.Not, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Shl,
        Mnemonic.Shr, Mnemonic.Sar, Mnemonic.Shld, Mnemonic.Shrd, Mnemonic.Imul, Mnemonic.Mul, Mnemonic.Div, Mnemonic.Idiv,
        Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc, Mnemonic.Bsf, Mnemonic.Bsr, Mnemonic.Popcnt, Mnemonic.Tzcnt, Mnemonic.Lzcnt,
        Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Movsxd, Mnemonic.Lea, Mnemonic.Xchg, Mnemonic.Xadd, Mnemonic.Cmpxchg,
        Mnemonic.Cdq, Mnemonic.Cqo, Mnemonic.Cwd, Mnemonic.Cbw, Mnemonic.Cwde, Mnemonic.Cdqe, Mnemonic.Bswap,
        Mnemonic.Seto, Mnemonic.Setno, Mnemonic.Setb, Mnemonic.Setae, Mnemonic.Sete, Mnemonic.Setne, Mnemonic.Setbe, Mnemonic.Seta,
        Mnemonic.Sets, Mnemonic.Setns, Mnemonic.Setp, Mnemonic.Setnp, Mnemonic.Setl, Mnemonic.Setge, Mnemonic.Setle, Mnemonic.Setg,
        Mnemonic.Cmovo, Mnemonic.Cmovno, Mnemonic.Cmovb, Mnemonic.Cmovae, Mnemonic.Cmove, Mnemonic.Cmovne, Mnemonic.Cmovbe, Mnemonic.Cmova,
        Mnemonic.Cmovs, Mnemonic.Cmovns, Mnemonic.Cmovp, Mnemonic.Cmovnp, Mnemonic.Cmovl, Mnemonic.Cmovge, Mnemonic.Cmovle, Mnemonic.Cmovg,
        Mnemonic.Clc, Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Sahf, Mnemonic.Nop, Mnemonic.Andn, Mnemonic.Shlx, Mnemonic.Movbe,
    ];

    internal static readonly Code[] Codes = [.. Enum.GetValues<Code>().Where(code => Integer.Contains(code.Mnemonic()) && code.ToOpCode().Mode64
        && code.Encoding() is EncodingKind.Legacy or EncodingKind.VEX && !code.CpuidFeatures().Contains(CpuidFeature.KNC))];

    [SkippableTheory]
    [InlineData(1, 1, 6000)]
    [InlineData(2, 1, 6000)]
    [InlineData(3, 2, 6000)]
    public void SingleInstructionsDoTheSameInBothTiers(int seed, int threshold, int programs) => Check(seed, threshold, programs, 1, 4);

    [SkippableTheory]
    [InlineData(11, 1, 1500)]
    [InlineData(12, 2, 1500)]
    [InlineData(13, 3, 1500)]
    public void ShortProgramsDoTheSameInBothTiers(int seed, int threshold, int programs) => Check(seed, threshold, programs, 8, 4);

    [SkippableTheory]
    [InlineData(21, 1, 400)]
    [InlineData(22, 2, 400)]
    public void LongProgramsDoTheSameInBothTiers(int seed, int threshold, int programs) => Check(seed, threshold, programs, 40, 6);

    private static void Check(int seed, int threshold, int programs, int length, int states)
    {
        Skip.If(TestCodeMemory.Unavailable != null, TestCodeMemory.Unavailable);
        using TierDifferential differential = new(seed, Codes, threshold);
        List<string> failures = [];
        for (int n = 0; n < programs && failures.Count < 5; n++)
        {
            string? failure = differential.Once(length, states);
            if (failure != null)
                failures.Add(failure);
        }

        failures.Should().BeEmpty();
        differential.Translations.Should().BeGreaterThan((ulong)programs / 2);
        differential.Faults[6].Should().BePositive("most programs end by UD2");
        differential.Faults[14].Should().BePositive();
    }
}
