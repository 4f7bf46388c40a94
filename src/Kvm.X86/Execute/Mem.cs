// Invariants: a host pointer is TlbEntry.Addend + an address of that entry's page, taken and used within one call; the page is
// inside a region of GuestMemory. `buffer` arguments have `length` bytes (the caller's promise).
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>
/// Guest memory by linear address, with the rights of the current instruction. Each returns false with a fault recorded and nothing
/// read or written. Linear addresses come from <see cref="Ea.Of"/>; segmentation has been dealt with by then.
/// </summary>
internal static unsafe class Mem
{
    /// <summary>Reads a value of 1, 2, 4, 8, 16 or 32 bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryRead<T>(Cpu* cpu, Op* op, ulong linear, T* value) where T : unmanaged
    {
        var entry = Tlb.At(cpu->Tlb, linear);
        if (((linear + (ulong)(sizeof(T) - 1)) & ~0xfffUL) == entry->ReadTag)
        {
            *value = *(T*)(entry->Addend + (nint)linear);
            return true;
        }

        return TryReadBytes(cpu, op, linear, (byte*)value, sizeof(T));
    }

    /// <summary>Writes a value of 1, 2, 4, 8, 16 or 32 bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryWrite<T>(Cpu* cpu, Op* op, ulong linear, T value) where T : unmanaged
    {
        var entry = Tlb.At(cpu->Tlb, linear);
        if (((linear + (ulong)(sizeof(T) - 1)) & ~0xfffUL) == entry->WriteTag)
        {
            *(T*)(entry->Addend + (nint)linear) = value;
            return true;
        }

        return TryWriteBytes(cpu, op, linear, (byte*)&value, sizeof(T));
    }

    /// <summary>Reads a byte.</summary>
    public static bool TryRead8(Cpu* cpu, Op* op, ulong linear, out byte value)
    {
        byte v = 0;
        bool ok = TryRead(cpu, op, linear, &v);
        value = v;
        return ok;
    }

    /// <summary>Reads two bytes.</summary>
    public static bool TryRead16(Cpu* cpu, Op* op, ulong linear, out ushort value)
    {
        ushort v = 0;
        bool ok = TryRead(cpu, op, linear, &v);
        value = v;
        return ok;
    }

    /// <summary>Reads four bytes.</summary>
    public static bool TryRead32(Cpu* cpu, Op* op, ulong linear, out uint value)
    {
        uint v = 0;
        bool ok = TryRead(cpu, op, linear, &v);
        value = v;
        return ok;
    }

    /// <summary>Reads eight bytes.</summary>
    public static bool TryRead64(Cpu* cpu, Op* op, ulong linear, out ulong value)
    {
        ulong v = 0;
        bool ok = TryRead(cpu, op, linear, &v);
        value = v;
        return ok;
    }

    /// <summary>Reads sixteen bytes; alignment is the caller's business (<see cref="RequireAligned"/>).</summary>
    public static bool TryRead128(Cpu* cpu, Op* op, ulong linear, out UInt128 value)
    {
        UInt128 v = 0;
        bool ok = TryRead(cpu, op, linear, &v);
        value = v;
        return ok;
    }

    /// <summary>Writes sixteen bytes.</summary>
    public static bool TryWrite128(Cpu* cpu, Op* op, ulong linear, UInt128 value) => TryWrite(cpu, op, linear, value);

    /// <summary>#GP(0) unless the address is a multiple of <paramref name="alignment"/> (MOVAPS, FXSAVE, XSAVE …).</summary>
    public static bool RequireAligned(Cpu* cpu, ulong linear, uint alignment) =>
        (linear & (alignment - 1)) == 0 || Fault.Protection(cpu);

    /// <summary>Checks that <paramref name="length"/> bytes can be accessed, setting A and D bits, without touching them.</summary>
    public static bool TryProbe(Cpu* cpu, Op* op, ulong linear, int length, bool write)
    {
        var context = CpuContext.From(cpu);
        ulong last = (linear + (ulong)(length - 1)) & ~0xfffUL;
        for (ulong page = linear; ; page = (page & ~0xfffUL) + 4096)
        {
            if (Translate(context, op, page, write ? AccessKind.Write : AccessKind.Read) == null)
                return false;
            if ((page & ~0xfffUL) == last)
                return true;
        }
    }

    /// <summary>Reads any number of bytes (at most a few pages); all pages are checked before the first byte is copied.</summary>
    public static bool TryReadBytes(Cpu* cpu, Op* op, ulong linear, byte* buffer, int length)
    {
        var context = CpuContext.From(cpu);
        int first = (int)Math.Min((uint)length, 4096 - (linear & 0xfff));
        if (!CheckAlignment(cpu, linear, length) || (first < length && !TryProbe(cpu, op, linear, length, false)))
            return false;
        for (int done = 0; done < length;)
        {
            ulong at = Wrap(cpu, linear + (ulong)done);
            int part = (int)Math.Min((uint)(length - done), 4096 - (at & 0xfff));
            var entry = Translate(context, op, at, AccessKind.Read);
            if (entry == null)
                return false;
            if ((entry->Info & Tlb.InfoIo) != 0)
                ReadIo(context, op, (entry->Info & ~0xfffUL) | (at & 0xfff), buffer + done, part);
            else
                Copy(buffer + done, (byte*)(entry->Addend + (nint)at), part);
            if ((entry->ReadTag & Tlb.SlowWatch) != 0)
                context.Watch(at, (uint)part, write: false, reads: true);
            done += part;
        }

        return true;
    }

    /// <summary>Writes any number of bytes (at most a few pages); all pages are checked before the first byte is written.</summary>
    public static bool TryWriteBytes(Cpu* cpu, Op* op, ulong linear, byte* buffer, int length)
    {
        var context = CpuContext.From(cpu);
        int first = (int)Math.Min((uint)length, 4096 - (linear & 0xfff));
        if (!CheckAlignment(cpu, linear, length) || (first < length && !TryProbe(cpu, op, linear, length, true)))
            return false;
        for (int done = 0; done < length;)
        {
            ulong at = Wrap(cpu, linear + (ulong)done);
            int part = (int)Math.Min((uint)(length - done), 4096 - (at & 0xfff));
            var entry = Translate(context, op, at, AccessKind.Write);
            if (entry == null)
                return false;
            ulong physical = (entry->Info & ~0xfffUL) | (at & 0xfff);
            if ((entry->Info & (Tlb.InfoIo | Tlb.InfoReadOnly)) != 0)
                WriteIo(context, op, physical, buffer + done, part);
            else
            {
                Copy((byte*)(entry->Addend + (nint)at), buffer + done, part);
                if ((entry->WriteTag & Tlb.SlowNotify) != 0)
                {
                    context.Written(physical, (uint)part);
                    context.Unprotect(entry);
                }
            }

            if ((entry->WriteTag & Tlb.SlowWatch) != 0)
                context.Watch(at, (uint)part, write: true, reads: false);
            done += part;
        }

        return true;
    }

    /// <summary>The entry for one address with the current rights, or null with a fault recorded.</summary>
    internal static TlbEntry* Translate(CpuContext context, Op* op, ulong linear, AccessKind access) =>
        Translate(context, op, linear, access, context.CurrentPrivilege);

    /// <summary>The entry for one address with the rights given, or null with a fault recorded.</summary>
    internal static TlbEntry* Translate(CpuContext context, Op* op, ulong linear, AccessKind access, Privilege privilege)
    {
        var cpu = context.Cpu;
        linear = Wrap(cpu, linear);
        nint tlb = context.TlbOf(privilege);
        var entry = Tlb.At(tlb, linear);
        ulong page = linear & ~0xfffUL;
        if (entry->ReadTag != Tlb.Invalid && (entry->ReadTag & ~0xfffUL) == page && Allows(entry, access))
            return entry;
        if ((cpu->Efer & Bits.EferLma) != 0 && !IsCanonical(cpu, linear))
        {
            // SDM vol. 3, 6.15: a non-canonical address through SS is #SS(0), else #GP(0).
            Fault.Raise(cpu, op != null && op->Segment == Seg.Ss ? Vector.StackFault : Vector.GeneralProtection);
            return null;
        }

        if (!context.TryWalk(linear, access, privilege, out var mapping, out uint error))
        {
            Fault.RaisePage(ref *cpu, linear, error);
            return null;
        }

        return Tlb.Fill(context, tlb, linear, mapping, access);
    }

    /// <summary>Whether all bits above the linear width repeat its highest bit.</summary>
    public static bool IsCanonical(Cpu* cpu, ulong linear)
    {
        int shift = 64 - cpu->LinearBits;
        return (ulong)((long)(linear << shift) >> shift) == linear;
    }

    private static bool Allows(TlbEntry* entry, AccessKind access) => access switch
    {
        AccessKind.Write => (entry->WriteTag & Tlb.NoAccess) == 0,
        AccessKind.Execute => (entry->Info & Tlb.InfoExecute) != 0,
        _ => (entry->ReadTag & Tlb.NoAccess) == 0,
    };

    /// <summary>Linear addresses have 32 bits outside long mode.</summary>
    private static ulong Wrap(Cpu* cpu, ulong linear) => (cpu->Efer & Bits.EferLma) != 0 ? linear : (uint)linear;

    /// <summary>#AC: CPL 3, CR0.AM and RFLAGS.AC, for accesses whose size is their natural alignment.</summary>
    internal static bool CheckAlignment(Cpu* cpu, ulong linear, int length)
    {
        if (cpu->Cpl != 3 || (cpu->Rflags & Bits.Ac) == 0 || (cpu->Cr0 & Bits.Cr0Am) == 0 || length > 8 || (linear & (ulong)(length - 1)) == 0)
            return true;
        return Fault.Raise(cpu, Vector.AlignmentCheck);
    }

    /// <summary>Host address of a byte of the entry's page; bits of <paramref name="at"/> above the page do not matter.</summary>
    internal static byte* HostOf(TlbEntry* entry, ulong at) => (byte*)(entry->Addend + (nint)((entry->ReadTag & ~0xfffUL) | (at & 0xfff)));

    /// <summary>Copies out of one page by its entry.</summary>
    internal static void CopyFrom(CpuContext context, TlbEntry* entry, ulong at, Span<byte> destination)
    {
        fixed (byte* buffer = destination)
        {
            if ((entry->Info & Tlb.InfoIo) != 0)
                ReadIo(context, null, (entry->Info & ~0xfffUL) | (at & 0xfff), buffer, destination.Length);
            else
                Copy(buffer, HostOf(entry, at), destination.Length);
        }
    }

    /// <summary>Copies into one page by its entry.</summary>
    internal static void CopyTo(CpuContext context, TlbEntry* entry, ulong at, ReadOnlySpan<byte> source)
    {
        ulong physical = (entry->Info & ~0xfffUL) | (at & 0xfff);
        fixed (byte* buffer = source)
        {
            if ((entry->Info & (Tlb.InfoIo | Tlb.InfoReadOnly)) != 0)
                WriteIo(context, null, physical, buffer, source.Length);
            else
            {
                Copy(HostOf(entry, at), buffer, source.Length);
                if ((entry->WriteTag & Tlb.SlowNotify) != 0)
                    context.Written(physical, (uint)source.Length);
                if ((entry->WriteTag & Tlb.SlowWatch) != 0)
                    context.WatchForDebugger(at, (uint)source.Length, write: true, reads: false);
            }
        }
    }

    private static void Copy(byte* to, byte* from, int length)
    {
        // Naturally aligned accesses are single-copy atomic on x86: not byte by byte.
        switch (length)
        {
            case 1: *to = *from; break;
            case 2: *(ushort*)to = *(ushort*)from; break;
            case 4: *(uint*)to = *(uint*)from; break;
            case 8: *(ulong*)to = *(ulong*)from; break;
            default: Buffer.MemoryCopy(from, to, length, length); break;
        }
    }

    private static void ReadIo(CpuContext context, Op* op, ulong physical, byte* buffer, int length)
    {
        bool apic = (physical & ~0xfffUL) == context.ApicPage;
        int counted = BeginDevice(context, op);
        for (int done = 0; done < length; done += 8)
        {
            var part = new Span<byte>(buffer + done, Math.Min(8, length - done));
            BeginObserved(context, op, physical + (ulong)done, part.Length, false);
            if (apic)
                context.Chips!.ReadApicPage((uint)(physical + (ulong)done) & 0xfff, part);
            else
                context.Mmio.Read(physical + (ulong)done, part);
            EndObserved(context, part);
        }

        EndDevice(context, counted);
    }

    private static void WriteIo(CpuContext context, Op* op, ulong physical, byte* buffer, int length)
    {
        bool apic = (physical & ~0xfffUL) == context.ApicPage;
        int counted = BeginDevice(context, op);
        for (int done = 0; done < length; done += 8)
        {
            var part = new ReadOnlySpan<byte>(buffer + done, Math.Min(8, length - done));
            BeginObserved(context, op, physical + (ulong)done, part.Length, true);
            if (apic)
                context.Chips!.WriteApicPage((uint)(physical + (ulong)done) & 0xfff, part);
            else
                context.Mmio.Write(physical + (ulong)done, part);
            EndObserved(context, part);
        }

        EndDevice(context, counted);
    }

    private static void BeginObserved(CpuContext context, Op* op, ulong physical, int length, bool isWrite) =>
        context.Observer?.Begin(false, physical, length, isWrite, op == null ? context.Cpu->Rip : HelperCall.RipOf(context.Cpu, op, 0));

    private static void EndObserved(CpuContext context, ReadOnlySpan<byte> part)
    {
        if (context.Observer is not { } observer)
            return;
        ulong value = 0;
        part.CopyTo(new Span<byte>(&value, sizeof(ulong)));
        observer.End(value);
    }

    /// <summary>
    /// Where time comes from retired instructions, a device that asks for it sees those of this block too, and what the access brings
    /// about (an interrupt, a new deadline) is looked at behind this instruction and not behind the block.
    /// </summary>
    private static int BeginDevice(CpuContext context, Op* op)
    {
        if (!context.Exact || op == null)
            return 0;
        int before = Blocks.InstructionsBefore(op) + 1;
        context.Cpu->Left -= before;
        return before;
    }

    private static void EndDevice(CpuContext context, int counted)
    {
        context.Cpu->Left += counted;
        if (context.Exact)
            context.Cpu->LeaveBlock = 1;
    }
}
