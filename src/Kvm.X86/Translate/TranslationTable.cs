// Invariants: read while the processor does not run, so no block, entry op or code of the tier in hand changes meanwhile. The code of
// block n has StartsOf(n)'s last value of bytes at least.
using Iced.Intel;
using Kvm.Devices.Memory;
using Kvm.X86.Decode;
using Kvm.X86.Execute;

namespace Kvm.X86.Translate;

/// <summary>One translated block, for people.</summary>
/// <param name="Rip">Where the guest saw it when it was translated.</param>
/// <param name="Physical">Guest-physical address of its first byte.</param>
/// <param name="Executions">Times its code was entered.</param>
/// <param name="Instructions">Its instructions; fewer than the block has if their bytes cannot be read any more.</param>
/// <param name="Prologue">Host code in front of the first instruction's: the counter.</param>
/// <param name="HostBytes">Bytes of its host code, with the exits out of the way.</param>
public sealed record TranslatedCode(
    ulong Rip, ulong Physical, ulong Executions, IReadOnlyList<TranslatedInstruction> Instructions, ReadOnlyMemory<byte> Prologue, int HostBytes);

/// <summary>One instruction of a translated block.</summary>
/// <param name="Rip">Its address.</param>
/// <param name="Guest">Its bytes.</param>
/// <param name="Ops">The ops it was decoded to, in words.</param>
/// <param name="Host">The host code in the straight line through the block.</param>
public sealed record TranslatedInstruction(ulong Rip, ReadOnlyMemory<byte> Guest, IReadOnlyList<string> Ops, ReadOnlyMemory<byte> Host);

/// <summary>Makes the translations of a tier visible.</summary>
internal static unsafe class TranslationTable
{
    /// <summary>The blocks executed most, most often first.</summary>
    public static List<TranslatedCode> Read(Tier tier, CodeCache cache, GuestMemory memory, int most)
    {
        var blocks = tier.Blocks;
        var hottest = new List<int>();
        for (int n = 0; n < blocks.Length; n++)
        {
            if (Entry.IsTranslated((Op*)blocks[n].Entry) && cache.Holds((Op*)blocks[n].Entry))
                hottest.Add(n);
        }

        hottest.Sort((a, b) => tier.ExecutionsOf(b) != tier.ExecutionsOf(a) ? tier.ExecutionsOf(b).CompareTo(tier.ExecutionsOf(a)) : a.CompareTo(b));
        var table = new List<TranslatedCode>();
        foreach (int n in hottest.Take(most))
            table.Add(Describe(blocks[n], tier.ExecutionsOf(n), tier.StartsOf(n), memory));
        return table;
    }

    private static TranslatedCode Describe(in TranslatedBlock block, ulong executions, ReadOnlySpan<int> starts, GuestMemory memory)
    {
        var entry = (Op*)block.Entry;
        var (first, secondPage, length) = CodeCache.BytesOf(entry);
        byte[] guest = ReadGuest(memory, first, secondPage, length);
        var code = new ReadOnlySpan<byte>((void*)block.Code, block.CodeLength);
        var instructions = new List<TranslatedInstruction>();
        var decoder = Decoder.Create(64, guest, block.Rip);
        int op = 0, at = 0;
        while (at < guest.Length && op < block.Ops)
        {
            decoder.Decode(out var instruction);
            if (instruction.IsInvalid && decoder.LastError == DecoderError.NoMoreBytes)
                break;
            int next = at + instruction.Length, from = op, end = entry[1].Offset + next;
            // An op carries its instruction's offset in the page; of two fused instructions the first one's. What ends a block has none.
            while (op < block.Ops && (entry[1 + op].CodeValue == Op.NoCode || entry[1 + op].Offset < end))
                op++;
            instructions.Add(new TranslatedInstruction(block.Rip + (ulong)at, guest.AsMemory(at, instruction.Length), Words(entry + 1 + from, op - from),
                code[starts[from]..starts[op]].ToArray()));
            at = next;
        }

        return new TranslatedCode(block.Rip, first, executions, instructions, code[..starts[0]].ToArray(), block.CodeLength);
    }

    private static byte[] ReadGuest(GuestMemory memory, ulong first, ulong secondPage, int length)
    {
        int inFirst = secondPage != 0 ? Math.Min(length, 4096 - (int)(first & 0xfff)) : length;
        if (!memory.TryReadOnlySlice(first, inFirst, out var bytes))
            return [];
        if (inFirst == length)
            return bytes.ToArray();
        return memory.TryReadOnlySlice(secondPage, length - inFirst, out var rest) ? [.. bytes, .. rest] : bytes.ToArray();
    }

    private static List<string> Words(Op* ops, int count)
    {
        var words = new List<string>();
        for (int n = 0; n < count; n++)
            words.Add(OpWords.Of(ops[n]));
        return words;
    }
}
