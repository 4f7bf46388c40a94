namespace Kvm.Interop;

/// <summary>
/// A virtual machine: memory, interrupts, timers, vCPUs. One method an ioctl. Thread-safe but for disposal; KVM takes its own locks.
/// Methods throw <see cref="KvmException"/> on failure unless they say they return -errno: those may be called for a guest, and a guest's
/// mistake must not become an exception.
/// </summary>
public sealed unsafe class KvmVm : KvmFile
{
    private readonly int _vcpuMmapSize;
    private readonly Dictionary<uint, ulong> _slotPages = [];
    private readonly Lock _slotLock = new();
    private int _dirtyRingBytes;

    internal KvmVm(FdHandle handle, int vcpuMmapSize)
        : base(handle)
    {
        _vcpuMmapSize = vcpuMmapSize;
    }

    /// <summary>Closes the descriptor; the kernel takes the VM apart in the background. Close vCPUs and devices first.</summary>
    protected override void Dispose(bool disposing)
    {
        using var background = disposing && !Handle.IsClosed ? BackgroundClose.Hold(Handle) : null;
        base.Dispose(disposing);
    }

    /// <summary>KVM_CHECK_EXTENSION on the VM, which may differ from the system's answer (KVM_CAP_CHECK_EXTENSION_VM).</summary>
    public int CheckExtension(KvmCap cap) => Ioctl(KvmIoctl.KVM_CHECK_EXTENSION, (nuint)cap);

    /// <summary>KVM_ENABLE_CAP on the VM (KVM_CAP_ENABLE_CAP_VM), with up to four arguments.</summary>
    public void EnableCap(KvmCap cap, params ReadOnlySpan<ulong> args)
    {
        EnableCapability(cap, args);
        if (cap is KvmCap.KVM_CAP_DIRTY_LOG_RING or KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL && args.Length > 0)
        {
            _dirtyRingBytes = (int)args[0];
        }
    }

    /// <summary>KVM_CREATE_VCPU, with its run page mapped.</summary>
    /// <param name="id">The number, which is also the local APIC identifier: below KVM_CAP_MAX_VCPU_ID.</param>
    public KvmVcpu CreateVcpu(uint id)
    {
        int fd = Ioctl(KvmIoctl.KVM_CREATE_VCPU, id);
        return KvmVcpu.Create(new FdHandle(fd), id, _vcpuMmapSize, _dirtyRingBytes, Math.Max(CheckExtension(KvmCap.KVM_CAP_XSAVE2), 4096));
    }

    /// <summary>KVM_SET_USER_MEMORY_REGION: makes, moves or (size 0) removes a memory slot.</summary>
    /// <param name="slot">Slot number, below KVM_CAP_NR_MEMSLOTS; the address space in the high half.</param>
    /// <param name="guestPhysAddr">First guest-physical address, a multiple of 4096.</param>
    /// <param name="memorySize">Bytes, a multiple of 4096; 0 removes the slot.</param>
    /// <param name="userspaceAddr">Where this process maps the memory; the mapping must outlive the slot.</param>
    /// <param name="flags">Read-only and/or dirty logging.</param>
    public void SetUserMemoryRegion(uint slot, ulong guestPhysAddr, ulong memorySize, nint userspaceAddr, KvmMemoryFlags flags = KvmMemoryFlags.None)
    {
        KvmUserspaceMemoryRegion region = new()
        {
            Slot = slot,
            Flags = (uint)flags,
            GuestPhysAddr = guestPhysAddr,
            MemorySize = memorySize,
            UserspaceAddr = (ulong)userspaceAddr,
        };
        lock (_slotLock)
        {
            Ioctl(KvmIoctl.KVM_SET_USER_MEMORY_REGION, &region);
            _slotPages[slot] = memorySize / 4096;
        }
    }

    /// <summary>KVM_SET_TSS_ADDR: three pages below 4 GiB for Intel's real-mode emulation.</summary>
    public void SetTssAddr(ulong address) => Ioctl(KvmIoctl.KVM_SET_TSS_ADDR, (nuint)address);

    /// <summary>KVM_SET_IDENTITY_MAP_ADDR: one page below 4 GiB for Intel's identity map; before the first vCPU.</summary>
    public void SetIdentityMapAddr(ulong address) => Ioctl(KvmIoctl.KVM_SET_IDENTITY_MAP_ADDR, &address);

    /// <summary>KVM_CREATE_IRQCHIP: 8259 pair, I/O APIC and local APICs in the kernel; before the first vCPU.</summary>
    public void CreateIrqChip() => Ioctl(KvmIoctl.KVM_CREATE_IRQCHIP, 0);

    /// <summary>KVM_CREATE_PIT2: the 8254 in the kernel, after <see cref="CreateIrqChip"/>.</summary>
    /// <param name="speakerDummy">Whether the kernel also answers port 0x61.</param>
    public void CreatePit2(bool speakerDummy = true)
    {
        KvmPitConfig config = new() { Flags = speakerDummy ? KvmConst.KVM_PIT_SPEAKER_DUMMY : 0 };
        Ioctl(KvmIoctl.KVM_CREATE_PIT2, &config);
    }

    /// <summary>KVM_GET_IRQCHIP: the state of one chip.</summary>
    public void GetIrqchip(KvmIrqchipId chip, out KvmIrqchip state)
    {
        state = default;
        state.ChipId = chip;
        fixed (KvmIrqchip* p = &state)
        {
            Ioctl(KvmIoctl.KVM_GET_IRQCHIP, p);
        }
    }

    /// <summary>KVM_SET_IRQCHIP: sets the chip named by <see cref="KvmIrqchip.ChipId"/>.</summary>
    public void SetIrqchip(in KvmIrqchip state) => Write(KvmIoctl.KVM_SET_IRQCHIP, in state);

    /// <summary>KVM_IRQ_LINE: drives the line <paramref name="gsi"/>. Returns 0 or -errno; never allocates.</summary>
    public int IrqLine(uint gsi, bool level)
    {
        KvmIrqLevel request = new() { Irq = gsi, Level = level ? 1u : 0u };
        return TryIoctl(KvmIoctl.KVM_IRQ_LINE, &request);
    }

    /// <summary>KVM_IRQ_LINE_STATUS: as <see cref="IrqLine"/>, and tells what became of it: -1 ignored, 0 merged, more than 0 delivered. Throws on failure.</summary>
    public int IrqLineStatus(uint gsi, bool level)
    {
        KvmIrqLevel request = new() { Irq = gsi, Level = level ? 1u : 0u };
        Ioctl(KvmIoctl.KVM_IRQ_LINE_STATUS, &request);
        return (int)request.Irq;
    }

    /// <summary>KVM_SIGNAL_MSI: sends a message-signalled interrupt. More than 0: delivered; 0: blocked by the guest; less: -errno. Never allocates.</summary>
    public int SignalMsi(ulong address, uint data)
    {
        KvmMsi message = new() { AddressLo = (uint)(address & uint.MaxValue), AddressHi = (uint)(address >> 32), Data = data };
        return TryIoctl(KvmIoctl.KVM_SIGNAL_MSI, &message);
    }

    /// <summary>KVM_SET_GSI_ROUTING: replaces the routing table, at most 4096 entries.</summary>
    public void SetGsiRouting(ReadOnlySpan<KvmIrqRoutingEntry> entries)
    {
        using VariableStruct buffer = new(sizeof(KvmIrqRouting), sizeof(KvmIrqRoutingEntry), entries.Length);
        KvmIrqRouting* header = (KvmIrqRouting*)buffer.Pointer;
        header->Nr = (uint)entries.Length;
        entries.CopyTo(new Span<KvmIrqRoutingEntry>(header + 1, entries.Length));
        Ioctl(KvmIoctl.KVM_SET_GSI_ROUTING, header);
    }

    /// <summary>KVM_IRQFD: from now on, signalling <paramref name="eventFd"/> raises <paramref name="gsi"/>.</summary>
    /// <param name="eventFd">An eventfd.</param>
    /// <param name="gsi">The interrupt.</param>
    /// <param name="resampleFd">For level-triggered interrupts (KVM_CAP_IRQFD_RESAMPLE): an eventfd KVM signals when the guest acknowledges, or <c>null</c>.</param>
    public void Irqfd(EventFd eventFd, uint gsi, EventFd? resampleFd = null)
    {
        KvmIrqfd request = new() { Fd = (uint)eventFd.Handle.Fd, Gsi = gsi };
        if (resampleFd is not null)
        {
            request.Flags = KvmConst.KVM_IRQFD_FLAG_RESAMPLE;
            request.Resamplefd = (uint)resampleFd.Handle.Fd;
        }

        Ioctl(KvmIoctl.KVM_IRQFD, &request);
        GC.KeepAlive(eventFd);
        GC.KeepAlive(resampleFd);
    }

    /// <summary>KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN: undoes <see cref="Irqfd"/>; after it returns no interrupt of this eventfd is in flight.</summary>
    public void IrqfdRemove(EventFd eventFd, uint gsi)
    {
        KvmIrqfd request = new() { Fd = (uint)eventFd.Handle.Fd, Gsi = gsi, Flags = KvmConst.KVM_IRQFD_FLAG_DEASSIGN };
        Ioctl(KvmIoctl.KVM_IRQFD, &request);
        GC.KeepAlive(eventFd);
    }

    /// <summary>KVM_IOEVENTFD: the guest's writes to an address signal <paramref name="eventFd"/> instead of ending the run.</summary>
    /// <param name="eventFd">An eventfd.</param>
    /// <param name="address">Port or guest-physical address.</param>
    /// <param name="length">Width of the write in bytes: 1, 2, 4, 8; 0 for any (KVM_CAP_IOEVENTFD_ANY_LENGTH).</param>
    /// <param name="port">Whether <paramref name="address"/> is a port.</param>
    /// <param name="match">Only writes of this value, or <c>null</c> for any.</param>
    public void Ioeventfd(EventFd eventFd, ulong address, uint length, bool port, ulong? match = null) =>
        IoeventfdRequest(eventFd, address, length, port, match, 0);

    /// <summary>KVM_IOEVENTFD with KVM_IOEVENTFD_FLAG_DEASSIGN: undoes <see cref="Ioeventfd"/> of the same arguments.</summary>
    public void IoeventfdRemove(EventFd eventFd, ulong address, uint length, bool port, ulong? match = null) =>
        IoeventfdRequest(eventFd, address, length, port, match, KvmConst.KVM_IOEVENTFD_FLAG_DEASSIGN);

    private void IoeventfdRequest(EventFd eventFd, ulong address, uint length, bool port, ulong? match, uint flags)
    {
        KvmIoeventfd request = new()
        {
            Datamatch = match.GetValueOrDefault(),
            Addr = address,
            Len = length,
            Fd = eventFd.Handle.Fd,
            Flags = flags | (port ? KvmConst.KVM_IOEVENTFD_FLAG_PIO : 0) | (match.HasValue ? KvmConst.KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
        };
        Ioctl(KvmIoctl.KVM_IOEVENTFD, &request);
        GC.KeepAlive(eventFd);
    }

    /// <summary>KVM_GET_PIT2.</summary>
    public KvmPitState2 GetPit2() => Read<KvmPitState2>(KvmIoctl.KVM_GET_PIT2);

    /// <summary>KVM_SET_PIT2.</summary>
    public void SetPit2(in KvmPitState2 state) => Write(KvmIoctl.KVM_SET_PIT2, in state);

    /// <summary>KVM_REINJECT_CONTROL: whether timer interrupts the guest was too slow for are delivered late (true) or dropped.</summary>
    public void ReinjectControl(bool reinject)
    {
        KvmReinjectControl request = new() { PitReinject = reinject ? (byte)1 : (byte)0 };
        Ioctl(KvmIoctl.KVM_REINJECT_CONTROL, &request);
    }

    /// <summary>KVM_GET_CLOCK: kvmclock, in nanoseconds.</summary>
    public KvmClockData GetClock() => Read<KvmClockData>(KvmIoctl.KVM_GET_CLOCK);

    /// <summary>KVM_SET_CLOCK. Of the flags only <see cref="KvmConst.KVM_CLOCK_REALTIME"/> may be set.</summary>
    public void SetClock(in KvmClockData clock) => Write(KvmIoctl.KVM_SET_CLOCK, in clock);

    /// <summary>KVM_SET_BOOT_CPU_ID: which vCPU is the bootstrap processor; before the first vCPU.</summary>
    public void SetBootCpuId(uint id) => Ioctl(KvmIoctl.KVM_SET_BOOT_CPU_ID, id);

    /// <summary>KVM_GET_TSC_KHZ on the VM (KVM_CAP_VM_TSC_CONTROL): kHz.</summary>
    public int GetTscKhz() => Ioctl(KvmIoctl.KVM_GET_TSC_KHZ, 0);

    /// <summary>KVM_SET_TSC_KHZ on the VM (KVM_CAP_VM_TSC_CONTROL): kHz of vCPUs made from now on.</summary>
    public void SetTscKhz(uint kilohertz) => Ioctl(KvmIoctl.KVM_SET_TSC_KHZ, kilohertz);

    /// <summary>KVM_GET_DIRTY_LOG: one bit a page of the slot, least significant first; the log is cleared unless manual clearing is on.</summary>
    /// <param name="slot">A slot with <see cref="KvmMemoryFlags.LogDirtyPages"/>.</param>
    /// <param name="bitmap">At least one bit a page, in whole 64-bit words.</param>
    public void GetDirtyLog(uint slot, Span<ulong> bitmap)
    {
        // The kernel writes as many words as the slot has pages for, however many there are here.
        ulong pages;
        lock (_slotLock)
        {
            _slotPages.TryGetValue(slot, out pages);
        }

        ArgumentOutOfRangeException.ThrowIfLessThan((ulong)bitmap.Length, (pages + 63) / 64, nameof(bitmap));
        fixed (ulong* bits = bitmap)
        {
            KvmDirtyLog request = new() { Slot = slot, DirtyBitmap = bits };
            Ioctl(KvmIoctl.KVM_GET_DIRTY_LOG, &request);
        }
    }

    /// <summary>KVM_CLEAR_DIRTY_LOG: clears the pages whose bit is set and protects them again (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 enabled).</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="firstPage">First page, a multiple of 64.</param>
    /// <param name="pageCount">Pages, a multiple of 64 unless it reaches the slot's end.</param>
    /// <param name="bitmap">The bits, first page first.</param>
    public void ClearDirtyLog(uint slot, ulong firstPage, uint pageCount, ReadOnlySpan<ulong> bitmap)
    {
        // The kernel reads whole words; never let it read past the span.
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)pageCount, (ulong)bitmap.Length * 64, nameof(pageCount));
        fixed (ulong* bits = bitmap)
        {
            KvmClearDirtyLog request = new() { Slot = slot, FirstPage = firstPage, NumPages = pageCount, DirtyBitmap = bits };
            Ioctl(KvmIoctl.KVM_CLEAR_DIRTY_LOG, &request);
        }
    }

    /// <summary>KVM_RESET_DIRTY_RINGS: gives harvested entries of all rings back; returns how many pages were protected again.</summary>
    public int ResetDirtyRings() => Ioctl(KvmIoctl.KVM_RESET_DIRTY_RINGS, 0);

    /// <summary>KVM_REGISTER_COALESCED_MMIO: writes to the zone are queued in a vCPU's ring (<see cref="KvmVcpu.CoalescedMmio"/>).</summary>
    public void RegisterCoalescedMmio(ulong address, uint size, bool port)
    {
        KvmCoalescedMmioZone zone = new() { Addr = address, Size = size, Pio = port ? 1u : 0u };
        Ioctl(KvmIoctl.KVM_REGISTER_COALESCED_MMIO, &zone);
    }

    /// <summary>KVM_UNREGISTER_COALESCED_MMIO.</summary>
    public void UnregisterCoalescedMmio(ulong address, uint size, bool port)
    {
        KvmCoalescedMmioZone zone = new() { Addr = address, Size = size, Pio = port ? 1u : 0u };
        Ioctl(KvmIoctl.KVM_UNREGISTER_COALESCED_MMIO, &zone);
    }

    /// <summary>
    /// KVM_X86_SET_MSR_FILTER: which MSR accesses KVM handles. Denied accesses fault in the guest, or end the run where
    /// KVM_CAP_X86_USER_SPACE_MSR was enabled with <see cref="KvmConst.KVM_MSR_EXIT_REASON_FILTER"/>.
    /// </summary>
    /// <param name="defaultAllow">What happens to MSRs in no range; without ranges it must be <c>true</c>, which removes the filter.</param>
    /// <param name="ranges">At most 16.</param>
    public void SetMsrFilter(bool defaultAllow, params ReadOnlySpan<KvmMsrFilterRange> ranges)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ranges.Length, KvmConst.KVM_MSR_FILTER_MAX_RANGES, nameof(ranges));
        KvmMsrFilterNative filter = default;
        filter.Flags = defaultAllow ? KvmConst.KVM_MSR_FILTER_DEFAULT_ALLOW : KvmConst.KVM_MSR_FILTER_DEFAULT_DENY;
        using VariableStruct bits = new(0, KvmConst.KVM_MSR_FILTER_MAX_BITMAP_SIZE, ranges.Length);
        for (int i = 0; i < ranges.Length; i++)
        {
            KvmMsrFilterRange range = ranges[i];
            ArgumentOutOfRangeException.ThrowIfGreaterThan(range.Count, KvmConst.KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8u, nameof(ranges));
            byte* bitmap = (byte*)bits.Pointer + (i * KvmConst.KVM_MSR_FILTER_MAX_BITMAP_SIZE);
            if (range.Bitmap is { } allowed)
            {
                int bytes = (int)((range.Count + 7) / 8);
                allowed.Span[..bytes].CopyTo(new Span<byte>(bitmap, bytes));
            }

            filter.Ranges[i] = new KvmMsrFilterRangeNative { Flags = range.Flags, Nmsrs = range.Count, Base = range.First, Bitmap = bitmap };
        }

        Ioctl(KvmIoctl.KVM_X86_SET_MSR_FILTER, &filter);
    }

    /// <summary>KVM_SET_PMU_EVENT_FILTER: which performance events the guest may count.</summary>
    /// <param name="action"><see cref="KvmConst.KVM_PMU_EVENT_ALLOW"/> or <see cref="KvmConst.KVM_PMU_EVENT_DENY"/>: what the list means.</param>
    /// <param name="fixedCounters">Bit mask of the fixed counters the action applies to.</param>
    /// <param name="events">Event selects, at most 300.</param>
    public void SetPmuEventFilter(uint action, uint fixedCounters, ReadOnlySpan<ulong> events)
    {
        using VariableStruct buffer = new(sizeof(KvmPmuEventFilter), sizeof(ulong), events.Length);
        KvmPmuEventFilter* header = (KvmPmuEventFilter*)buffer.Pointer;
        header->Action = action;
        header->Nevents = (uint)events.Length;
        header->FixedCounterBitmap = fixedCounters;
        events.CopyTo(new Span<ulong>(header + 1, events.Length));
        Ioctl(KvmIoctl.KVM_SET_PMU_EVENT_FILTER, header);
    }

    /// <summary>KVM_CREATE_DEVICE: an in-kernel device (<see cref="KvmConst.KVM_DEV_TYPE_VFIO"/>).</summary>
    public KvmDevice CreateDevice(uint type)
    {
        KvmCreateDevice request = new() { Type = type };
        Ioctl(KvmIoctl.KVM_CREATE_DEVICE, &request);
        return new KvmDevice(new FdHandle((int)request.Fd));
    }

    /// <summary>KVM_CREATE_DEVICE with KVM_CREATE_DEVICE_TEST: whether <see cref="CreateDevice"/> would know the type.</summary>
    public bool CanCreateDevice(uint type)
    {
        KvmCreateDevice request = new() { Type = type, Flags = KvmConst.KVM_CREATE_DEVICE_TEST };
        return TryIoctl(KvmIoctl.KVM_CREATE_DEVICE, &request) == 0;
    }

    /// <summary>KVM_GET_STATS_FD: KVM's counters of this VM (KVM_CAP_BINARY_STATS_FD).</summary>
    public KvmStats OpenStats() => new(new FdHandle(Ioctl(KvmIoctl.KVM_GET_STATS_FD, 0)));
}
