// Invariants: an op pointer points into a block: a header (Fn = 0) stands before its first op.
using Kvm.X86.Decode;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.X86.Execute;

/// <summary>Walks decoded blocks.</summary>
internal static unsafe class Blocks
{
    /// <summary>
    /// Copies a built block behind a header, and an entry op in front of it where there is a second tier; turns indexes of stubs into
    /// addresses. Returns the first op: what others jump to.
    /// </summary>
    public static Op* Place(BlockBuilder builder, Op* header, Tier? tier = null)
    {
        *header = default;
        var ops = builder.Ops;
        Op* first = header + 1;
        if (tier != null)
            *first++ = Entry.Create(ops[0].Offset, tier.Interpret, tier.Threshold);
        ops.CopyTo(new Span<Op>(first, ops.Length));
        foreach (int jump in builder.Jumps)
            first[jump].Imm = (long)(first + first[jump].Imm);
        return header + 1;
    }

    /// <summary>Instructions of the block before the one <paramref name="op"/> belongs to.</summary>
    public static int InstructionsBefore(Op* op)
    {
        int count = 0;
        while (op->Fn != 0 && !op->IsFirst)
            op--;
        if (op->Fn == 0)
            return 0;
        for (op--; op->Fn != 0; op--)
            count += op->IsFirst ? (op->IsFused ? 2 : 1) : 0;
        return count;
    }
}
