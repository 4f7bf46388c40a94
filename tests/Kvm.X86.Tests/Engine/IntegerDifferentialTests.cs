using Iced.Intel;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Engine;

/// <summary>Every integer instruction against the host's processor.</summary>
public class IntegerDifferentialTests
{
    private static readonly HashSet<Mnemonic> Covered =
    [
        Mnemonic.Add, Mnemonic.Or, Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Sub, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test,
        Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg, Mnemonic.Not, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Shl,
        Mnemonic.Sal, Mnemonic.Shr, Mnemonic.Sar, Mnemonic.Shld, Mnemonic.Shrd, Mnemonic.Imul, Mnemonic.Mul, Mnemonic.Div, Mnemonic.Idiv,
        Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc, Mnemonic.Bsf, Mnemonic.Bsr, Mnemonic.Popcnt, Mnemonic.Tzcnt, Mnemonic.Lzcnt,
        Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Movsxd, Mnemonic.Lea, Mnemonic.Xchg, Mnemonic.Xadd, Mnemonic.Cmpxchg,
        Mnemonic.Cmpxchg8b, Mnemonic.Cmpxchg16b, Mnemonic.Cdq, Mnemonic.Cqo, Mnemonic.Cwd, Mnemonic.Cbw, Mnemonic.Cwde, Mnemonic.Cdqe, Mnemonic.Bswap,
        Mnemonic.Seto, Mnemonic.Setno, Mnemonic.Setb, Mnemonic.Setae, Mnemonic.Sete, Mnemonic.Setne, Mnemonic.Setbe, Mnemonic.Seta,
        Mnemonic.Sets, Mnemonic.Setns, Mnemonic.Setp, Mnemonic.Setnp, Mnemonic.Setl, Mnemonic.Setge, Mnemonic.Setle, Mnemonic.Setg,
        Mnemonic.Cmovo, Mnemonic.Cmovno, Mnemonic.Cmovb, Mnemonic.Cmovae, Mnemonic.Cmove, Mnemonic.Cmovne, Mnemonic.Cmovbe, Mnemonic.Cmova,
        Mnemonic.Cmovs, Mnemonic.Cmovns, Mnemonic.Cmovp, Mnemonic.Cmovnp, Mnemonic.Cmovl, Mnemonic.Cmovge, Mnemonic.Cmovle, Mnemonic.Cmovg,
        Mnemonic.Clc, Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Lahf, Mnemonic.Sahf, Mnemonic.Nop,
        Mnemonic.Andn, Mnemonic.Bextr, Mnemonic.Blsi, Mnemonic.Blsr, Mnemonic.Blsmsk, Mnemonic.Bzhi, Mnemonic.Mulx, Mnemonic.Pdep, Mnemonic.Pext,
        Mnemonic.Rorx, Mnemonic.Sarx, Mnemonic.Shlx, Mnemonic.Shrx, Mnemonic.Adcx, Mnemonic.Adox, Mnemonic.Crc32, Mnemonic.Movbe,
        Mnemonic.Movnti, Mnemonic.Pause,
    ];

    [SkippableFact]
    public void EveryIntegerInstructionGivesWhatTheHostGives()
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using var differential = new IntegerDifferential(seed: 4711);
        List<string> failures = [];
        HashSet<Mnemonic> seen = [];
        foreach (Code code in Enum.GetValues<Code>())
        {
            if (!Covered.Contains(code.Mnemonic()) || !code.ToOpCode().Mode64 || code.Encoding() is not (EncodingKind.Legacy or EncodingKind.VEX)
                || code.CpuidFeatures().Contains(CpuidFeature.KNC))
                continue;
            string? failure = differential.Check(code, forms: 12, cases: 40, out int compared);
            if (failure != null)
                failures.Add(failure);
            if (compared > 0)
                seen.Add(code.Mnemonic());
        }

        failures.Should().BeEmpty();
        seen.Should().Contain(Covered.Except([Mnemonic.Sal]));
    }
}
