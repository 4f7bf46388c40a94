// Invariants: an op pointer points into a block: a header (Fn = 0) stands before its first op.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Walks decoded blocks.</summary>
internal static unsafe class Blocks
{
    /// <summary>Copies a built block behind a header and turns indexes of stubs into addresses. Returns the first op.</summary>
    public static Op* Place(BlockBuilder builder, Op* header)
    {
        *header = default;
        var ops = builder.Ops;
        Op* first = header + 1;
        ops.CopyTo(new Span<Op>(first, ops.Length));
        foreach (int jump in builder.Jumps)
            first[jump].Imm = (long)(first + first[jump].Imm);
        return first;
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
