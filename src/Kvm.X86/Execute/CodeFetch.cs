// Invariants: a host address is a translation buffer hit for the page it is read in; the buffer is CodeBytes'.
using Kvm.X86.Decode;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Reads instruction bytes with the processor's right to execute them.</summary>
internal static unsafe class CodeFetch
{
    /// <summary>Linear address of an instruction pointer.</summary>
    public static ulong Linear(Cpu* cpu, ulong rip) =>
        (cpu->Mode & ModeBits.CodeSize) == 2 ? rip : (uint)(cpu->Segments[Seg.Cs].Base + rip);

    /// <summary>
    /// Fills the reader with bytes from RIP on, of its page only, or of the next page too if <paramref name="cross"/>. False with
    /// the fault recorded: #PF, or #GP beyond CS's limit.
    /// </summary>
    public static bool TryFill(CpuContext context, CodeBytes bytes, int most, bool cross)
    {
        var cpu = context.Cpu;
        ulong at = Linear(cpu, cpu->Rip);
        int wanted = Math.Min(most, CodeBytes.Capacity);
        if ((cpu->Mode & ModeBits.CodeSize) != 2)
        {
            uint limit = cpu->Segments[Seg.Cs].Limit;
            if ((uint)cpu->Rip > limit)
                return Fault.Protection(cpu);
            wanted = (int)Math.Min((uint)wanted, (ulong)limit - (uint)cpu->Rip + 1);
        }

        int first = (int)Math.Min((uint)wanted, 4096 - (at & 0xfff));
        if (!TryCopy(context, at, bytes.Buffer[..first]))
            return false;
        int length = first;
        if (cross && first < wanted)
        {
            if (!TryCopy(context, at + (ulong)first, bytes.Buffer[first..wanted]))
                return false;
            length = wanted;
        }

        bytes.Start(length);
        return true;
    }

    private static bool TryCopy(CpuContext context, ulong linear, Span<byte> destination)
    {
        var entry = Mem.Translate(context, null, linear, AccessKind.Execute);
        if (entry == null)
            return false;
        Mem.CopyFrom(context, entry, linear, destination);
        return true;
    }
}
