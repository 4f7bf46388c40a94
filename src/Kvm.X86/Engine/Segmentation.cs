using System.Buffers.Binary;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>
/// Segment registers and descriptors (SDM vol. 3, 3.4 and 5). Each method returns false with the fault recorded and nothing
/// changed. Kept free of pointers: it reads guest structures whose every bit the guest chose.
/// </summary>
internal static class Segmentation
{
    /// <summary>Descriptor types of system segments.</summary>
    public const int Tss16 = 1, Ldt = 2, Tss16Busy = 3, CallGate16 = 4, TaskGate = 5, InterruptGate16 = 6, TrapGate16 = 7,
        Tss32 = 9, Tss32Busy = 11, CallGate32 = 12, InterruptGate32 = 14, TrapGate32 = 15;

    /// <summary>Whether segments are the real-mode kind: base = selector · 16, no descriptors.</summary>
    public static bool IsReal(ref Cpu cpu) => (cpu.Cr0 & Bits.Cr0Pe) == 0 || (cpu.Rflags & Bits.Vm) != 0;

    /// <summary>Long mode is active (64-bit or compatibility).</summary>
    public static bool IsLongMode(ref Cpu cpu) => (cpu.Efer & Bits.EferLma) != 0;

    /// <summary>Long mode with a 64-bit code segment.</summary>
    public static bool Is64(ref Cpu cpu) => (cpu.Mode & ModeBits.CodeSize) == 2;

    /// <summary>Reads the eight bytes of a descriptor; #GP(selector), or another vector, if outside its table.</summary>
    public static bool TryReadDescriptor(ref Cpu cpu, CpuContext context, ushort selector, int vector, out ulong descriptor) =>
        TryReadDescriptor(ref cpu, context, selector, vector, selector & 0xfffcu, out descriptor);

    /// <summary>As above with an error code of the caller's.</summary>
    public static bool TryReadDescriptor(ref Cpu cpu, CpuContext context, ushort selector, int vector, uint error, out ulong descriptor)
    {
        descriptor = 0;
        if (!TryAddress(ref cpu, selector, 8, out ulong address))
            return Fault.Raise(ref cpu, vector, error);
        Span<byte> bytes = stackalloc byte[8];
        if (!context.TryReadSystem(address, bytes))
            return false;
        descriptor = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return true;
    }

    /// <summary>Linear address of a descriptor; false if it is not wholly inside its table, or there is no LDT.</summary>
    public static bool TryAddress(ref Cpu cpu, ushort selector, uint size, out ulong address)
    {
        uint index = selector & 0xfff8u;
        ref var ldt = ref cpu.Segments[Seg.Ldtr];
        bool local = (selector & 4) != 0;
        ulong table = local ? ldt.Base : cpu.Gdtr.Base;
        uint limit = local ? ldt.Limit : cpu.Gdtr.Limit;
        address = table + index;
        return !(local && (ldt.IsUnusable || !ldt.IsPresent)) && index + (size - 1) <= limit;
    }

    /// <summary>The hidden part a descriptor gives.</summary>
    public static SegmentRegister Parse(ulong descriptor, ushort selector)
    {
        uint limit = (uint)(descriptor & 0xffff) | ((uint)(descriptor >> 32) & 0xf0000);
        if ((descriptor & (1UL << 55)) != 0)
            limit = (limit << 12) | 0xfff;
        return new SegmentRegister
        {
            Base = ((descriptor >> 16) & 0xffffff) | ((descriptor >> 32) & 0xff000000),
            Limit = limit,
            Selector = selector,
            Attributes = (ushort)(((descriptor >> 40) & 0xff) | ((descriptor >> 44) & 0xf00)),
        };
    }

    /// <summary>Sets a descriptor's accessed bit in memory if it is clear.</summary>
    public static bool TryMarkAccessed(ref Cpu cpu, CpuContext context, ref SegmentRegister segment)
    {
        if ((segment.Attributes & 1) != 0)
            return true;
        if (!TryAddress(ref cpu, segment.Selector, 8, out ulong address) || !context.TrySetSystemBits(address + 5, 1))
            return false;
        segment.Attributes |= 1;
        return true;
    }

    /// <summary>Loads ES, SS, DS, FS or GS.</summary>
    public static bool TryLoad(ref Cpu cpu, CpuContext context, int register, ushort selector)
    {
        ref var segment = ref cpu.Segments[register & 7];
        if (IsReal(ref cpu))
        {
            segment.Selector = selector;
            segment.Base = (ulong)selector << 4;
            if ((cpu.Rflags & Bits.Vm) == 0)
                segment.Attributes = (ushort)(segment.Attributes & ~SegmentRegister.UnusableBit | 0x93);
            return true;
        }

        if ((selector & 0xfffc) == 0)
            return TryLoadNull(ref cpu, register, selector);
        if (!TryReadDescriptor(ref cpu, context, selector, Vector.GeneralProtection, out ulong descriptor))
            return false;
        var loaded = Parse(descriptor, selector);
        if (!(register == Seg.Ss ? CheckStack(ref cpu, loaded, selector, cpu.Cpl, Vector.GeneralProtection) : CheckData(ref cpu, loaded, selector)))
            return false;
        if (!TryMarkAccessed(ref cpu, context, ref loaded))
            return false;
        segment = loaded;
        if (register == Seg.Ss)
            Modes.Update(ref cpu, context);
        return true;
    }

    private static bool TryLoadNull(ref Cpu cpu, int register, ushort selector)
    {
        // SS may be null in 64-bit mode below CPL 3, with RPL = CPL.
        if (register == Seg.Ss && !(Is64(ref cpu) && cpu.Cpl < 3 && (selector & 3) == cpu.Cpl))
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        ref var segment = ref cpu.Segments[register & 7];
        segment = new SegmentRegister { Selector = selector, Attributes = SegmentRegister.UnusableBit };
        if (register == Seg.Ss)
            segment.Attributes |= (ushort)(cpu.Cpl << 5);
        return true;
    }

    /// <summary>SS must be writable data with DPL = RPL = CPL and present.</summary>
    public static bool CheckStack(ref Cpu cpu, in SegmentRegister loaded, ushort selector, int cpl, int vector)
    {
        uint error = selector & 0xfffcu;
        if ((selector & 3) != cpl || !loaded.IsWritable || loaded.Dpl != cpl)
            return Fault.Raise(ref cpu, vector, error);
        return loaded.IsPresent || Fault.Raise(ref cpu, Vector.StackFault, error);
    }

    private static bool CheckData(ref Cpu cpu, in SegmentRegister loaded, ushort selector)
    {
        uint error = selector & 0xfffcu;
        bool conforming = loaded.IsCode && (loaded.Type & 4) != 0;
        if (!loaded.IsCodeOrData || !loaded.IsReadable || (!conforming && Math.Max(selector & 3, cpu.Cpl) > loaded.Dpl))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        return loaded.IsPresent || Fault.Raise(ref cpu, Vector.SegmentNotPresent, error);
    }

    /// <summary>
    /// After a return to an outer level: data segments that level may not use become null (SDM vol. 2, RET). Their bases stay,
    /// as processors have it: FS and GS are used in 64-bit mode whatever their selectors are.
    /// </summary>
    public static void DropPrivilegedData(ref Cpu cpu)
    {
        ReadOnlySpan<int> registers = [Seg.Es, Seg.Ds, Seg.Fs, Seg.Gs];
        foreach (int register in registers)
        {
            ref var s = ref cpu.Segments[register];
            bool conforming = s.IsCode && (s.Type & 4) != 0;
            if (s.IsUnusable || conforming || s.Dpl >= cpu.Cpl)
                continue;
            s = new SegmentRegister { Base = s.Base, Attributes = SegmentRegister.UnusableBit };
        }
    }

    /// <summary>Loads LDTR.</summary>
    public static bool TryLoadLdt(ref Cpu cpu, CpuContext context, ushort selector)
    {
        if ((selector & 0xfffc) == 0)
        {
            cpu.Segments[Seg.Ldtr] = new SegmentRegister { Selector = selector, Attributes = SegmentRegister.UnusableBit };
            return true;
        }

        if (!TryReadSystemDescriptor(ref cpu, context, selector, out var loaded, out _))
            return false;
        if (loaded.IsCodeOrData || loaded.Type != Ldt)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, selector & 0xfffcu);
        if (!loaded.IsPresent)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, selector & 0xfffcu);
        cpu.Segments[Seg.Ldtr] = loaded;
        return true;
    }

    /// <summary>Loads TR and marks its descriptor busy.</summary>
    public static bool TryLoadTask(ref Cpu cpu, CpuContext context, ushort selector)
    {
        if ((selector & 0xfffc) == 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        if (!TryReadSystemDescriptor(ref cpu, context, selector, out var loaded, out ulong address))
            return false;
        bool available = loaded.Type == Tss32 || (loaded.Type == Tss16 && !IsLongMode(ref cpu));
        if (loaded.IsCodeOrData || !available)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, selector & 0xfffcu);
        if (!loaded.IsPresent)
            return Fault.Raise(ref cpu, Vector.SegmentNotPresent, selector & 0xfffcu);
        if (!context.TrySetSystemBits(address + 5, 2))
            return false;
        loaded.Attributes |= 2;
        cpu.Segments[Seg.Tr] = loaded;
        return true;
    }

    /// <summary>A descriptor of the GDT for LDTR or TR: sixteen bytes in long mode.</summary>
    private static bool TryReadSystemDescriptor(ref Cpu cpu, CpuContext context, ushort selector, out SegmentRegister loaded, out ulong address)
    {
        loaded = default;
        uint error = selector & 0xfffcu;
        bool wide = IsLongMode(ref cpu);
        if (!TryAddress(ref cpu, selector, wide ? 16u : 8u, out address) || (selector & 4) != 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        Span<byte> bytes = stackalloc byte[16];
        if (!context.TryReadSystem(address, bytes[..(wide ? 16 : 8)]))
            return false;
        loaded = Parse(BinaryPrimitives.ReadUInt64LittleEndian(bytes), selector);
        if (!wide)
            return true;
        ulong high = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]);
        loaded.Base |= high << 32;
        if ((high & 0x1f00_0000_0000) != 0 || !Modes.IsCanonical(ref cpu, loaded.Base))
            return Fault.Raise(ref cpu, Vector.GeneralProtection, error);
        return true;
    }

    /// <summary>
    /// Loads CS for a jump, call or return inside the current level or, for a return, outwards. The descriptor was read and
    /// checked; the level is the new one.
    /// </summary>
    public static void SetCode(ref Cpu cpu, CpuContext context, in SegmentRegister loaded, int cpl)
    {
        cpu.Segments[Seg.Cs] = loaded;
        cpu.Segments[Seg.Cs].Selector = (ushort)((loaded.Selector & 0xfffc) | cpl);
        cpu.Cpl = cpl;
        Modes.Update(ref cpu, context);
    }
}
