using System.Globalization;
using Iced.Intel;
using Kvm.X86.Translate;

namespace Kvm.Labs.Catalog;

/// <summary>What binary translation made of a block of guest code, as lines: an instruction of the guest, and the host's for it.</summary>
internal static class TranslationListing
{
    private const int GuestWidth = 28;
    private const int MostLines = 40;

    /// <summary>The block's lines: where it is and how often it ran, then its instructions.</summary>
    /// <param name="block">The block.</param>
    /// <param name="bits">The mode of the guest's code: 16, 32 or 64.</param>
    public static IEnumerable<string> Of(TranslatedCode block, int bits)
    {
        yield return string.Create(CultureInfo.InvariantCulture, $"the block at 0x{block.Rip:x} ran {block.Executions:#,0} times, as {block.HostBytes} bytes of host code:");
        foreach (string line in Rows(block, bits).Take(MostLines))
            yield return line;
    }

    private static IEnumerable<string> Rows(TranslatedCode block, int bits)
    {
        foreach (var instruction in block.Instructions)
        {
            string guest = Disassemble(instruction.Guest, instruction.Rip, bits).FirstOrDefault() ?? "";
            var host = Disassemble(instruction.Host, 0, 64);
            // A comparison that a jump takes up, for one, has no code of its own.
            for (int i = 0; i < Math.Max(1, host.Count); i++)
                yield return $"  {(i == 0 ? guest : "").PadRight(GuestWidth)}  {(i < host.Count ? host[i] : "")}".TrimEnd();
        }
    }

    private static List<string> Disassemble(ReadOnlyMemory<byte> code, ulong address, int bits)
    {
        var decoder = Decoder.Create(bits, code.ToArray(), address);
        var formatter = new NasmFormatter(new FormatterOptions { BranchLeadingZeros = false });
        var output = new StringOutput();
        var lines = new List<string>();
        for (int at = 0; at < code.Length;)
        {
            decoder.Decode(out var instruction);
            if (instruction.IsInvalid)
                break;
            formatter.Format(instruction, output);
            lines.Add(output.ToStringAndReset());
            at += instruction.Length;
        }

        return lines;
    }
}
