// Invariants: the block is the context's: room for a header and BlockBuilder.MaxOps ops.
using System.Runtime.InteropServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>
/// Decodes and executes exactly one instruction, without keeping what it decoded: for single-stepping, interrupt shadows,
/// instructions across two pages, and completion for another engine.
/// </summary>
internal sealed unsafe class StepRunner : IDisposable
{
    private readonly CpuContext _context;
    private readonly CodeBytes _bytes = new();
    private readonly Op* _block;

    public StepRunner(CpuContext context)
    {
        _context = context;
        Builder = new BlockBuilder(_bytes);
        _block = (Op*)NativeMemory.AlignedAlloc((BlockBuilder.MaxOps + 1) * Op.Size, 64);
    }

    /// <summary>What decoded the instruction.</summary>
    public BlockBuilder Builder { get; }

    /// <summary>The bytes of the instruction.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes.Content[..Math.Min(Builder.ByteLength, _bytes.Content.Length)];

    /// <summary>Executes the instruction at RIP. The value is what a handler returns: Continue or Faulted, RIP set accordingly.</summary>
    public nint Step()
    {
        var cpu = _context.Cpu;
        if (!TryBuild(cpu))
            return HelperCall.Faulted;
        cpu->Attention = -1;
        nint result = Hot.Go(cpu, _block + 1);
        return result == HelperCall.Faulted ? result : HelperCall.Continue;
    }

    private bool TryBuild(Cpu* cpu)
    {
        const int Longest = 15;
        if (!CodeFetch.TryFill(_context, _bytes, Longest, false))
            return false;
        int offset = (int)(CodeFetch.Linear(cpu, cpu->Rip) & 0xfff);
        if (!Builder.TryBuild(offset, cpu->Mode, cpu->Features, 1))
        {
            if (!CodeFetch.TryFill(_context, _bytes, Longest, true))
                return false;
            // Fifteen bytes are always enough; fewer end at CS's limit.
            if (!Builder.TryBuild(offset, cpu->Mode, cpu->Features, 1))
                return Fault.Protection(cpu);
        }

        Blocks.Place(Builder, _block);
        cpu->Gpr[Slots.CodeBase] = cpu->Rip - (ulong)offset;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.AlignedFree(_block);
}
