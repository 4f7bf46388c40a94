using System.Collections.Frozen;
using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>Which encodings an instruction's name has: Iced's list, with the other names of conditions.</summary>
internal static class InstructionTable
{
    /// <summary>Encodings in Iced's order; empty if there is no such instruction.</summary>
    public static IReadOnlyList<Code> Find(string name) => _codes.GetValueOrDefault(name, []);

    /// <summary>All names.</summary>
    public static IEnumerable<string> Names => _codes.Keys;

    private static FrozenDictionary<string, Code[]> Make()
    {
        var codes = Enum.GetValues<Code>()
            .Where(code => code.ToOpCode() is { IsInstruction: true, Encoding: EncodingKind.Legacy } info && info.Mnemonic != Mnemonic.INVALID
                && info.DecoderOption == DecoderOptions.None) // else: of processors that nobody has any more
            .GroupBy(code => code.Mnemonic())
            .ToDictionary(group => group.Key.ToString().ToLowerInvariant(), group => group.ToArray(), StringComparer.OrdinalIgnoreCase);
        foreach (var (stem, names) in _conditions)
        {
            foreach (string name in names)
            {
                foreach (string family in (string[])["j", "set", "cmov"])
                    codes[family + name] = codes[family + stem];
            }
        }

        foreach (var (name, other) in _others)
            codes[name] = codes[other];
        codes["retfq"] = [Code.Retfq, Code.Retfq_imm16];
        codes["retf"] = [.. codes["retf"].Except(codes["retfq"])];
        // Without operands, movsd and cmpsd are string instructions, with them SSE's: operands tell.
        return codes.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);
    }

    // Iced names each condition once (SDM vol. 1, appendix B).
    private static readonly (string Stem, string[] Names)[] _conditions =
    [
        ("e", ["z"]), ("ne", ["nz"]), ("b", ["c", "nae"]), ("ae", ["nc", "nb"]), ("be", ["na"]), ("a", ["nbe"]),
        ("p", ["pe"]), ("np", ["po"]), ("l", ["nge"]), ("ge", ["nl"]), ("le", ["ng"]), ("g", ["nle"]),
    ];

    private static readonly (string Name, string Other)[] _others =
        [("sal", "shl"), ("xlat", "xlatb"), ("loopz", "loope"), ("loopnz", "loopne"), ("icebp", "int1"), ("fwait", "wait")];

    // Behind what it is made of: statics are made in the order they are written.
    private static readonly FrozenDictionary<string, Code[]> _codes = Make();
}
