using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

#pragma warning disable CS1591 // fields of <linux/kvm.h> and <asm/kvm.h>, name for name

namespace Kvm.Interop;

/// <summary><c>struct kvm_userspace_memory_region</c>.</summary>
internal struct KvmUserspaceMemoryRegion
{
    public uint Slot;
    public uint Flags;
    public ulong GuestPhysAddr;
    public ulong MemorySize;
    public ulong UserspaceAddr;
}

/// <summary>Flags of a memory slot.</summary>
[Flags]
public enum KvmMemoryFlags : uint
{
    /// <summary>Plain memory.</summary>
    None = 0,
    /// <summary>KVM_MEM_LOG_DIRTY_PAGES: the pages the guest writes are logged.</summary>
    LogDirtyPages = 1,
    /// <summary>KVM_MEM_READONLY: the guest's writes end in an MMIO exit (KVM_CAP_READONLY_MEM).</summary>
    ReadOnly = 2,
}

/// <summary><c>struct kvm_irq_level</c>. On KVM_IRQ_LINE_STATUS the first word comes back as a status.</summary>
internal struct KvmIrqLevel
{
    public uint Irq;
    public uint Level;
}

/// <summary><c>struct kvm_pic_state</c>: one 8259A.</summary>
public struct KvmPicState
{
    public byte LastIrr, Irr, Imr, Isr;
    public byte PriorityAdd, IrqBase, ReadRegSelect, Poll;
    public byte SpecialMask, InitState, AutoEoi, RotateOnAutoEoi;
    public byte SpecialFullyNestedMode, Init4, Elcr, ElcrMask;
}

/// <summary><c>struct kvm_ioapic_state</c>: the I/O APIC; a redirection entry is its 64 architectural bits.</summary>
public struct KvmIoapicState
{
    public ulong BaseAddress;
    public uint Ioregsel;
    public uint Id;
    public uint Irr;
    public uint Pad;
    public U64x24 Redirtbl;
}

/// <summary>The union <c>chip</c> of <c>struct kvm_irqchip</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 512)]
public struct KvmIrqchipChip
{
    [FieldOffset(0)] public U8x512 Dummy;
    [FieldOffset(0)] public KvmPicState Pic;
    [FieldOffset(0)] public KvmIoapicState Ioapic;
}

/// <summary><c>struct kvm_irqchip</c>: the state of one in-kernel chip; <see cref="ChipId"/> says which view of <see cref="Chip"/> holds.</summary>
public struct KvmIrqchip
{
    public KvmIrqchipId ChipId;
    public uint Pad;
    public KvmIrqchipChip Chip;
}

/// <summary>Which in-kernel interrupt chip.</summary>
public enum KvmIrqchipId : uint
{
    /// <summary>Master 8259A.</summary>
    PicMaster = 0,
    /// <summary>Slave 8259A.</summary>
    PicSlave = 1,
    /// <summary>I/O APIC.</summary>
    Ioapic = 2,
}

/// <summary><c>struct kvm_pit_config</c>.</summary>
internal struct KvmPitConfig
{
    public uint Flags;
    public U32x15 Pad;
}

/// <summary><c>struct kvm_pit_channel_state</c>: one counter of the 8254.</summary>
public struct KvmPitChannelState
{
    public uint Count;
    public ushort LatchedCount;
    public byte CountLatched;
    public byte StatusLatched;
    public byte Status;
    public byte ReadState;
    public byte WriteState;
    public byte WriteLatch;
    public byte RwMode;
    public byte Mode;
    public byte Bcd;
    public byte Gate;
    public long CountLoadTime;
}

/// <summary>Three <see cref="KvmPitChannelState"/> laid out as a C array.</summary>
[InlineArray(3)]
public struct KvmPitChannels
{
    private KvmPitChannelState _e;
}

/// <summary><c>struct kvm_pit_state2</c>: the 8254.</summary>
public struct KvmPitState2
{
    public KvmPitChannels Channels;
    public uint Flags;
    public U32x9 Reserved;
}

/// <summary><c>struct kvm_reinject_control</c>.</summary>
internal struct KvmReinjectControl
{
    public byte PitReinject;
    public U8x31 Reserved;
}

/// <summary><c>struct kvm_clock_data</c>: kvmclock in nanoseconds; <see cref="Realtime"/> and <see cref="HostTsc"/> count with their flag of <see cref="KvmConst"/>.</summary>
public struct KvmClockData
{
    public ulong Clock;
    public uint Flags;
    public uint Pad0;
    public ulong Realtime;
    public ulong HostTsc;
    public U32x4 Pad;
}

/// <summary><c>struct kvm_msi</c>.</summary>
internal struct KvmMsi
{
    public uint AddressLo;
    public uint AddressHi;
    public uint Data;
    public uint Flags;
    public uint Devid;
    public U8x12 Pad;
}

/// <summary><c>struct kvm_irq_routing_irqchip</c>.</summary>
public struct KvmIrqRoutingIrqchip
{
    public KvmIrqchipId Irqchip;
    public uint Pin;
}

/// <summary><c>struct kvm_irq_routing_msi</c>.</summary>
public struct KvmIrqRoutingMsi
{
    public uint AddressLo;
    public uint AddressHi;
    public uint Data;
    public uint Devid;
}

/// <summary>The union <c>u</c> of <c>struct kvm_irq_routing_entry</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct KvmIrqRoutingEntryTarget
{
    [FieldOffset(0)] public KvmIrqRoutingIrqchip Irqchip;
    [FieldOffset(0)] public KvmIrqRoutingMsi Msi;
    [FieldOffset(0)] public U32x8 Pad;
}

/// <summary><c>struct kvm_irq_routing_entry</c>: where a GSI leads. Make one with <see cref="ToPin"/> or <see cref="ToMsi"/>.</summary>
public struct KvmIrqRoutingEntry
{
    public uint Gsi;
    /// <summary><see cref="KvmConst.KVM_IRQ_ROUTING_IRQCHIP"/> or <see cref="KvmConst.KVM_IRQ_ROUTING_MSI"/>.</summary>
    public uint Type;
    public uint Flags;
    public uint Pad;
    public KvmIrqRoutingEntryTarget U;

    /// <summary>Routes <paramref name="gsi"/> to a pin of an in-kernel chip.</summary>
    public static KvmIrqRoutingEntry ToPin(uint gsi, KvmIrqchipId chip, uint pin)
    {
        KvmIrqRoutingEntry e = default;
        e.Gsi = gsi;
        e.Type = KvmConst.KVM_IRQ_ROUTING_IRQCHIP;
        e.U.Irqchip.Irqchip = chip;
        e.U.Irqchip.Pin = pin;
        return e;
    }

    /// <summary>Routes <paramref name="gsi"/> to a message-signalled interrupt.</summary>
    public static KvmIrqRoutingEntry ToMsi(uint gsi, ulong address, uint data)
    {
        KvmIrqRoutingEntry e = default;
        e.Gsi = gsi;
        e.Type = KvmConst.KVM_IRQ_ROUTING_MSI;
        e.U.Msi.AddressLo = (uint)(address & uint.MaxValue);
        e.U.Msi.AddressHi = (uint)(address >> 32);
        e.U.Msi.Data = data;
        return e;
    }
}

/// <summary>The fixed part of <c>struct kvm_irq_routing</c>.</summary>
internal struct KvmIrqRouting
{
    public uint Nr;
    public uint Flags;
}

/// <summary><c>struct kvm_irqfd</c>.</summary>
internal struct KvmIrqfd
{
    public uint Fd;
    public uint Gsi;
    public uint Flags;
    public uint Resamplefd;
    public U8x16 Pad;
}

/// <summary><c>struct kvm_ioeventfd</c>.</summary>
internal struct KvmIoeventfd
{
    public ulong Datamatch;
    public ulong Addr;
    public uint Len;
    public int Fd;
    public uint Flags;
    public U8x36 Pad;
}

/// <summary><c>struct kvm_enable_cap</c>.</summary>
internal struct KvmEnableCap
{
    public uint Cap;
    public uint Flags;
    public U64x4 Args;
    public U8x64 Pad;
}

/// <summary><c>struct kvm_dirty_log</c>.</summary>
internal unsafe struct KvmDirtyLog
{
    public uint Slot;
    public uint Padding1;
    public void* DirtyBitmap;
}

/// <summary><c>struct kvm_clear_dirty_log</c>.</summary>
internal unsafe struct KvmClearDirtyLog
{
    public uint Slot;
    public uint NumPages;
    public ulong FirstPage;
    public void* DirtyBitmap;
}

/// <summary><c>struct kvm_dirty_gfn</c>: one entry of a vCPU's dirty ring. <see cref="Slot"/> is the slot in its low half and the address space in its high half; <see cref="Offset"/> counts pages from the slot's start.</summary>
public struct KvmDirtyGfn
{
    public uint Flags;
    public uint Slot;
    public ulong Offset;
}

/// <summary><c>struct kvm_coalesced_mmio_zone</c>.</summary>
internal struct KvmCoalescedMmioZone
{
    public ulong Addr;
    public uint Size;
    public uint Pio;
}

/// <summary><c>struct kvm_coalesced_mmio</c>: one write that was queued instead of ending the run.</summary>
public struct KvmCoalescedMmio
{
    public ulong PhysAddr;
    public uint Len;
    public uint Pio;
    public U8x8 Data;
}

/// <summary>The fixed part of <c>struct kvm_coalesced_mmio_ring</c>.</summary>
internal struct KvmCoalescedMmioRingHeader
{
    public uint First;
    public uint Last;
}

/// <summary><c>struct kvm_create_device</c>.</summary>
internal struct KvmCreateDevice
{
    public uint Type;
    public uint Fd;
    public uint Flags;
}

/// <summary><c>struct kvm_device_attr</c>.</summary>
internal struct KvmDeviceAttr
{
    public uint Flags;
    public uint Group;
    public ulong Attr;
    public ulong Addr;
}

/// <summary>The fixed part of <c>struct kvm_signal_mask</c>; the kernel's signal set is 8 bytes, not the C library's 128.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct KvmSignalMask
{
    public uint Len;
    public ulong Sigset;
}

/// <summary>The fixed part of <c>struct kvm_pmu_event_filter</c>.</summary>
internal struct KvmPmuEventFilter
{
    public uint Action;
    public uint Nevents;
    public uint FixedCounterBitmap;
    public uint Flags;
    public U32x4 Pad;
}

/// <summary>The fixed part of <c>struct kvm_nested_state</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal struct KvmNestedStateHeader
{
    public ushort Flags;
    public ushort Format;
    public uint Size;
}

/// <summary><c>struct kvm_stats_header</c>.</summary>
internal struct KvmStatsHeader
{
    public uint Flags;
    public uint NameSize;
    public uint NumDesc;
    public uint IdOffset;
    public uint DescOffset;
    public uint DataOffset;
}

/// <summary>The fixed part of <c>struct kvm_stats_desc</c>; the name follows.</summary>
internal struct KvmStatsDesc
{
    public uint Flags;
    public short Exponent;
    public ushort Size;
    public uint Offset;
    public uint BucketSize;
}
