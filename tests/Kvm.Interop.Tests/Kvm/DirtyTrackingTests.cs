using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Interop.Tests.Kvm;

/// <summary>Which pages the guest wrote, whichever way it is asked.</summary>
public sealed class DirtyTrackingTests
{
    private const uint Base = 0x100000;
    private const int Pages = 512;

    /// <summary>
    /// 32-bit code that writes one byte into each page, in this order, then halts. Between two writes it counts to 64: a KVM that interprets
    /// kernels looks at the ring only every thousand instructions, and pages dirtied meanwhile must not be more than the ring keeps in reserve.
    /// </summary>
    private static byte[] WriteTo(IEnumerable<int> pages) =>
    [
        .. pages.SelectMany(page => (byte[])
        [
            0xc6, 0x05, .. BitConverter.GetBytes(Base + ((uint)page * 4096) + 8), 0x5a, // mov byte [page + 8], 0x5a
            0xb9, 64, 0, 0, 0, 0xe2, 0xfe, // mov ecx, 64 ; again: loop again
        ]),
        0xf4,
    ];

    private static TinyGuest Create(byte[] code, HostMapping memory, Action<KvmVm>? beforeVcpu = null)
    {
        TinyGuest guest = new(code, beforeVcpu: beforeVcpu);
        guest.EnterFlatMode();
        guest.Vm.SetUserMemoryRegion(1, Base, Pages * 4096, memory.Address, KvmMemoryFlags.LogDirtyPages);
        return guest;
    }

    [SkippableFact]
    public void The_log_holds_exactly_the_pages_written_whichever_they_are()
    {
        using (RealKvm.Open())
        {
        }

        Gen<int[]> some = Gen.Choose(0, Pages - 1).ArrayOf(20);
        Prop.ForAll(some.ToArbitrary(), pages =>
        {
            using HostMapping memory = HostMapping.Anonymous(Pages * 4096);
            using TinyGuest guest = Create(WriteTo(pages), memory);
            guest.Run();
            ulong[] bitmap = new ulong[Pages / 64];

            guest.Vm.GetDirtyLog(1, bitmap);

            int[] logged = [.. Enumerable.Range(0, Pages).Where(p => (bitmap[p / 64] >> (p % 64) & 1) != 0)];
            return logged.SequenceEqual(pages.Distinct().Order());
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(10));
    }

    [SkippableFact]
    public void A_full_ring_ends_the_run_and_harvesting_it_lets_the_guest_go_on()
    {
        // The smallest ring has 256 entries, fewer than the pages written.
        using HostMapping memory = HostMapping.Anonymous(Pages * 4096);
        int[] pages = [.. Enumerable.Range(0, 400)]; // 14 bytes of code each: 0x1000 to 0x25e1
        using TinyGuest guest = Create(WriteTo(pages), memory, EnableSmallRing);
        KvmDirtyRing ring = guest.Vcpu.DirtyRing!;
        KvmDirtyGfn[] entries = new KvmDirtyGfn[64];
        List<int> seen = [];
        int full = 0;

        while (guest.Run() == KvmExit.DirtyRingFull)
        {
            full++;
            Harvest();
        }

        guest.Page.ExitReason.Should().Be(KvmExit.Hlt);
        Harvest();
        full.Should().BeGreaterThan(0);
        seen.Should().BeEquivalentTo(pages);
        ring.Capacity.Should().Be(256);

        void Harvest()
        {
            int count;
            while ((count = ring.Harvest(entries)) > 0)
            {
                seen.AddRange(entries[..count].Where(e => e.Slot == 1).Select(e => (int)e.Offset));
            }

            guest.Vm.ResetDirtyRings();
        }
    }

    [SkippableFact]
    public void A_page_written_again_after_the_reset_is_listed_again()
    {
        using HostMapping memory = HostMapping.Anonymous(Pages * 4096);
        using TinyGuest guest = Create(WriteTo([7]), memory, EnableSmallRing);
        KvmDirtyGfn[] entries = new KvmDirtyGfn[8];

        for (int round = 0; round < 3; round++)
        {
            KvmRegs regs = guest.Regs with { Rip = TinyGuest.Origin };
            guest.Vcpu.SetRegs(in regs);
            guest.Run().Should().Be(KvmExit.Hlt);

            int count = guest.Vcpu.DirtyRing!.Harvest(entries);
            entries[..count].Should().ContainSingle(e => e.Slot == 1).Which.Offset.Should().Be(7);
            guest.Vm.ResetDirtyRings();
        }
    }

    [SkippableFact]
    public void A_coalesced_ring_delivers_more_writes_than_it_holds_in_order()
    {
        // mov ecx, 500 ; again: mov [0xf00000], ecx ; loop again ; hlt
        byte[] code = [0xb9, 0xf4, 0x01, 0x00, 0x00, 0x89, 0x0d, 0x00, 0x00, 0xf0, 0x00, 0xe2, 0xf8, 0xf4];
        using TinyGuest guest = new(code);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_COALESCED_MMIO) == 0, "KVM_CAP_COALESCED_MMIO is missing");
        guest.EnterFlatMode();
        guest.Vm.RegisterCoalescedMmio(0xf00000, 4, port: false);
        List<int> seen = [];

        while (guest.Run() != KvmExit.Hlt)
        {
            // A full ring makes the next write an exit like any other, after what is queued.
            Drain();
            guest.Page.ExitReason.Should().Be(KvmExit.Mmio);
            seen.Add(BitConverter.ToInt32(guest.Page.MmioData));
        }

        Drain();
        seen.Should().Equal(Enumerable.Range(1, 500).Reverse());
        KvmCoalescedMmioRing.Capacity.Should().Be((4096 - 8) / 24);

        void Drain()
        {
            while (guest.Vcpu.CoalescedMmio!.TryTake(out KvmCoalescedMmio write))
            {
                write.PhysAddr.Should().Be(0xf00000);
                write.Len.Should().Be(4);
                seen.Add(BitConverter.ToInt32(write.Data));
            }
        }
    }

    [SkippableFact]
    public void Port_writes_can_be_coalesced_too()
    {
        using TinyGuest guest = new([.. GuestCode.Out(0x70, 1), .. GuestCode.Out(0x70, 2), .. GuestCode.Hlt]);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_COALESCED_PIO) == 0, "KVM_CAP_COALESCED_PIO is missing");
        guest.Vm.RegisterCoalescedMmio(0x70, 1, port: true);

        guest.Run().Should().Be(KvmExit.Hlt);

        guest.Vcpu.CoalescedMmio!.TryTake(out KvmCoalescedMmio write).Should().BeTrue();
        (write.PhysAddr, write.Pio, write.Data[0]).Should().Be((0x70UL, 1u, (byte)1));
        guest.Vm.UnregisterCoalescedMmio(0x70, 1, port: true);
    }

    private static void EnableSmallRing(KvmVm vm)
    {
        KvmCap cap = vm.CheckExtension(KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL) != 0 ? KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL : KvmCap.KVM_CAP_DIRTY_LOG_RING;
        Skip.If(vm.CheckExtension(cap) == 0, "KVM_CAP_DIRTY_LOG_RING is missing");
        vm.EnableCap(cap, 4096);
    }
}
