// Invariants: code addresses come from entry ops and exit records of the arena in hand, which is not reset while Run is on the stack.
// Cpu.HostEnter is the arena's entry routine. An ExitRecord's op belongs to the block whose code returned it.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

/// <summary>
/// Runs translated code and does what it comes back for. Translated code calls nothing: it returns the address of a record and is
/// entered again where the record says, so that no managed frame ever stands above a native one.
/// </summary>
internal static unsafe class HostExits
{
    /// <summary>What a step returns to have the loop end with the status in <c>result</c>.</summary>
    private const nint Ended = 0;

    /// <summary>
    /// Runs code until it has to leave: a status as handlers return it, or the address of an op to interpret.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static nint Run(Cpu* cpu, nint code)
    {
        for (; ; )
        {
            nint exit = ((delegate* unmanaged<Cpu*, nint, nint>)cpu->HostEnter)(cpu, code);
            if (exit < CodeArena.MaxStatus)
                return exit == CodeArena.ToOp ? (nint)cpu->HostValue : exit;
            var record = (ExitRecord*)exit;
            nint result = 0;
            code = record->Kind switch
            {
                ExitKind.Access => Access(cpu, record, out result),
                ExitKind.Single => Single(cpu, record, out result),
                ExitKind.Flags => Normalize(cpu, record),
                ExitKind.Chain => Chain(cpu, record, out result),
                ExitKind.Arrive => Leave(Branch.Arrive(cpu, (Op*)record->Op, cpu->HostValue), out result),
                _ => Leave(record->Op, out result),
            };
            if (code == Ended)
                return result;
        }
    }

    private static nint Leave(nint status, out nint result)
    {
        result = status;
        return Ended;
    }

    private static nint At(ExitRecord* record, int distance) => (nint)record + distance;

    private static nint Normalize(Cpu* cpu, ExitRecord* record)
    {
        Flags.ToHost(cpu);
        return At(record, record->Resume);
    }

    /// <summary>Behind the op, with the flags as the code there expects them.</summary>
    private static nint Resume(Cpu* cpu, ExitRecord* record)
    {
        if (record->NeedsFlags != 0)
            Flags.ToHost(cpu);
        return At(record, record->Resume);
    }

    /// <summary>An access the translation buffer did not let pass: fills it, or has the op done by its handler (Slow).</summary>
    private static nint Access(Cpu* cpu, ExitRecord* record, out nint result)
    {
        result = 0;
        var op = (Op*)record->Op;
        ulong at = cpu->HostValue;
        bool write = record->Form != AccessForm.Read;
        var context = CpuContext.From(cpu);
        if (!Mem.CheckAlignment(cpu, at, record->Bytes) || (record->Form == AccessForm.LoadToModify && !Mem.TryProbe(cpu, op, at, record->Bytes, true)))
            return Leave(HelperCall.LeaveFaulted(cpu, op), out result);
        var entry = Mem.Translate(context, op, at, write ? AccessKind.Write : AccessKind.Read);
        if (entry == null)
            return Leave(HelperCall.LeaveFaulted(cpu, op), out result);
        ulong lastPage = (at + (ulong)(record->Bytes - 1)) & ~0xfffUL;
        if (entry == Tlb.At(cpu->Tlb, at) && (write ? entry->WriteTag : entry->ReadTag) == lastPage)
            return At(record, record->Retry);
        nint done = Slow.Alone(context, op, at, record->Bytes, record->Form, entry);
        return done == Slow.Stopped ? Resume(cpu, record) : Leave(done, out result);
    }

    /// <summary>Runs an op by its handler.</summary>
    private static nint Single(Cpu* cpu, ExitRecord* record, out nint result)
    {
        result = 0;
        var op = (Op*)record->Op;
        if (op->Fn == (nint)(delegate*<Cpu*, Op*, nint>)&HelperCall.Run)
        {
            if (!((delegate*<Cpu*, Op*, bool>)op->Imm)(cpu, op))
                return Leave(HelperCall.LeaveFaulted(cpu, op), out result);
            return cpu->LeaveBlock == 0 ? Resume(cpu, record) : Leave(HelperCall.LeaveAfter(cpu, op), out result);
        }

        nint done = Slow.RunAlone(cpu, op);
        return done == Slow.Stopped ? Resume(cpu, record) : Leave(done, out result);
    }

    /// <summary>
    /// A direct jump: patched if its target is translated by now; else the interpreter takes it, and links it if it is not.
    /// </summary>
    private static nint Chain(Cpu* cpu, ExitRecord* record, out nint result)
    {
        var target = (Op*)((Op*)record->Op)->Imm;
        if (target->CodeValue == Op.NoCode || !Entry.IsTranslated(target))
            return Leave((nint)target, out result);
        result = 0;
        nint toWritable = cpu->HostToWritable;
        Emitter.Patch((byte*)(At(record, record->Retry) + toWritable), (byte*)(target->Imm + toWritable));
        return (nint)target->Imm;
    }
}
