namespace Kvm.Interop.Tests.Kvm;

public sealed class MemorySlotTests
{
    [SkippableFact]
    public void Overlapping_slots_are_refused_with_EEXIST()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        using HostMapping more = HostMapping.Anonymous(0x2000);

        FluentActions.Invoking(() => guest.Vm.SetUserMemoryRegion(1, TinyGuest.MemorySize - 0x1000, 0x2000, more.Address))
            .Should().Throw<KvmException>().WithMessage("KVM_SET_USER_MEMORY_REGION failed: EEXIST*overlaps*");
    }

    [SkippableFact]
    public void A_removed_slot_makes_room_for_another()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        using HostMapping more = HostMapping.Anonymous(0x1000);
        guest.Vm.SetUserMemoryRegion(1, 0x100000, 0x1000, more.Address);

        guest.Vm.SetUserMemoryRegion(1, 0x100000, 0, 0);

        guest.Vm.SetUserMemoryRegion(2, 0x100000, 0x1000, more.Address);
    }

    [SkippableFact]
    public void A_write_to_a_read_only_slot_ends_in_an_mmio_exit_and_leaves_the_memory()
    {
        // The data segment at 0xf0000 points at the read-only slot.
        byte[] code = [.. GuestCode.DataSegment(0xf000), .. GuestCode.Store(0x0010, 0x77), .. GuestCode.Hlt];
        using TinyGuest guest = new(code);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_READONLY_MEM) == 0, "KVM_CAP_READONLY_MEM is missing");
        using HostMapping rom = HostMapping.Anonymous(0x1000);
        rom.Span[0x10] = 0x55;
        guest.Vm.SetUserMemoryRegion(1, 0xf0000, 0x1000, rom.Address, KvmMemoryFlags.ReadOnly);

        guest.Run().Should().Be(KvmExit.Mmio);

        guest.Page.Mmio.PhysAddr.Should().Be(0xf0010);
        guest.Page.Mmio.IsWrite.Should().Be(1);
        guest.Page.MmioData.ToArray().Should().Equal(0x77);
        rom.Span[0x10].Should().Be(0x55);
        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void Pages_the_guest_writes_show_in_the_dirty_log_once()
    {
        byte[] code = [.. GuestCode.Store(0x3000, 1), .. GuestCode.Store(0x9008, 2), .. GuestCode.Hlt];
        using TinyGuest guest = new(code, flags: KvmMemoryFlags.LogDirtyPages);
        ulong[] bitmap = new ulong[1];
        guest.Vm.GetDirtyLog(0, bitmap);

        guest.Run().Should().Be(KvmExit.Hlt);
        guest.Vm.GetDirtyLog(0, bitmap);

        (bitmap[0] & (1 << 3 | 1 << 9)).Should().Be(1 << 3 | 1 << 9);
        (bitmap[0] & (1 << 4 | 1 << 12)).Should().Be(0);
        guest.Vm.GetDirtyLog(0, bitmap);
        bitmap[0].Should().Be(0);
    }

    [SkippableFact]
    public void A_bitmap_too_small_for_the_slot_is_refused_here_instead_of_overrun()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        using HostMapping more = HostMapping.Anonymous(65 * 0x1000);
        guest.Vm.SetUserMemoryRegion(1, 0x100000, 65 * 0x1000, more.Address, KvmMemoryFlags.LogDirtyPages);

        FluentActions.Invoking(() => guest.Vm.GetDirtyLog(1, new ulong[1])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vm.GetDirtyLog(0, [])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vm.GetDirtyLog(9, new ulong[1])).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);
        guest.Vm.GetDirtyLog(1, new ulong[2]);
    }

    [SkippableFact]
    public void With_manual_protection_the_log_stays_until_it_is_cleared()
    {
        byte[] code = [.. GuestCode.Store(0x3000, 1), .. GuestCode.Hlt];
        using TinyGuest guest = new(
            code,
            flags: KvmMemoryFlags.LogDirtyPages,
            beforeVcpu: vm =>
            {
                Skip.If(vm.CheckExtension(KvmCap.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) == 0, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is missing");
                vm.EnableCap(KvmCap.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KvmConst.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
            });
        guest.Run().Should().Be(KvmExit.Hlt);
        ulong[] bitmap = new ulong[1];
        guest.Vm.GetDirtyLog(0, bitmap);
        (bitmap[0] & 8).Should().Be(8);

        guest.Vm.GetDirtyLog(0, bitmap);
        (bitmap[0] & 8).Should().Be(8, "nothing was cleared yet");
        guest.Vm.ClearDirtyLog(0, 0, 16, [8]);
        guest.Vm.GetDirtyLog(0, bitmap);

        (bitmap[0] & 8).Should().Be(0);
    }

    [SkippableFact]
    public void Clearing_more_pages_than_the_bitmap_has_bits_is_refused_here()
    {
        using TinyGuest guest = new(GuestCode.Hlt, flags: KvmMemoryFlags.LogDirtyPages);

        FluentActions.Invoking(() => guest.Vm.ClearDirtyLog(0, 0, 65, [0])).Should().Throw<ArgumentOutOfRangeException>();
    }

    [SkippableFact]
    public void Pages_the_guest_writes_come_out_of_the_dirty_ring()
    {
        byte[] code = [.. GuestCode.Store(0x3000, 1), .. GuestCode.Store(0x9008, 2), .. GuestCode.Hlt];
        using TinyGuest guest = new(
            code,
            flags: KvmMemoryFlags.LogDirtyPages,
            beforeVcpu: vm =>
            {
                KvmCap cap = vm.CheckExtension(KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL) != 0 ? KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL : KvmCap.KVM_CAP_DIRTY_LOG_RING;
                Skip.If(vm.CheckExtension(cap) == 0, "KVM_CAP_DIRTY_LOG_RING is missing");
                vm.EnableCap(cap, 0x10000);
            });
        guest.Run().Should().Be(KvmExit.Hlt);
        KvmDirtyGfn[] entries = new KvmDirtyGfn[64];

        KvmDirtyRing ring = guest.Vcpu.DirtyRing!;
        int count = ring.Harvest(entries);

        ring.Capacity.Should().Be(0x10000 / 16);
        entries[..count].Select(e => e.Offset).Should().Contain([3UL, 9UL]);
        entries[..count].Should().OnlyContain(e => e.Slot == 0);
        guest.Vm.ResetDirtyRings().Should().Be(count);
        ring.Harvest(entries).Should().Be(0);
    }

    [SkippableFact]
    public void Without_the_capability_there_is_no_dirty_ring()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        guest.Vcpu.DirtyRing.Should().BeNull();
    }

    [SkippableFact]
    public void Writes_to_a_coalesced_zone_are_queued_and_do_not_end_the_run()
    {
        byte[] code = [.. GuestCode.DataSegment(0xf000), .. GuestCode.Store(0x0010, 0x77), .. GuestCode.Store(0x0011, 0x78), .. GuestCode.Hlt];
        using TinyGuest guest = new(code);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_COALESCED_MMIO) == 0, "KVM_CAP_COALESCED_MMIO is missing");
        guest.Vm.RegisterCoalescedMmio(0xf0000, 0x1000, port: false);

        guest.Run().Should().Be(KvmExit.Hlt);

        KvmCoalescedMmioRing ring = guest.Vcpu.CoalescedMmio!;
        ring.TryTake(out KvmCoalescedMmio first).Should().BeTrue();
        ring.TryTake(out KvmCoalescedMmio second).Should().BeTrue();
        ring.TryTake(out _).Should().BeFalse();
        (first.PhysAddr, first.Len, first.Data[0]).Should().Be((0xf0010UL, 1u, (byte)0x77));
        (second.PhysAddr, second.Len, second.Data[0]).Should().Be((0xf0011UL, 1u, (byte)0x78));
        guest.Vm.UnregisterCoalescedMmio(0xf0000, 0x1000, port: false);
    }
}
