using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tests.Vcpu;

/// <summary>Messages and wires at KVM's own interrupt chips, of a vCPU that never runs.</summary>
public sealed class KvmMessagesTests : IDisposable
{
    private const ulong Apic = 0xfee0_0000;

    private readonly KvmSystem? _system;
    private readonly KvmVm? _vm;
    private readonly KvmVcpu? _vcpu;

    public KvmMessagesTests()
    {
        if (!File.Exists("/dev/kvm"))
            return;
        _system = KvmSystem.Open();
        _vm = _system.CreateVm();
        _vm.SetTssAddr(MachineLayout.KvmTss);
        _vm.CreateIrqChip();
        _vcpu = _vm.CreateVcpu(0);
        _vcpu.GetLapic(out var lapic);
        lapic.Regs[0xf1] |= 1; // software enable (SDM vol. 3, 11.4.7.2)
        _vcpu.SetLapic(in lapic);
    }

    public void Dispose()
    {
        _vcpu?.Dispose();
        _vm?.Dispose();
        _system?.Dispose();
    }

    private KvmVm Vm
    {
        get
        {
            Skip.If(_vm is null, "needs /dev/kvm");
            return _vm!;
        }
    }

    /// <summary>The vector is in the interrupt request register.</summary>
    private bool IsRequested(byte vector)
    {
        _vcpu!.GetLapic(out var lapic);
        return (lapic.Regs[0x200 + (vector >> 5) * 0x10 + (vector >> 3 & 3)] & 1 << (vector & 7)) != 0;
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Message_arrives_by_either_way(bool irqfds)
    {
        using var sink = KvmMessages.Choose(Vm, new VmConfig { KernelPath = "k", Irqfds = irqfds });
        sink.Send(Apic, 0x41);
        IsRequested(0x41).Should().BeTrue();
        var route = sink.TryRoute();
        (route is not null).Should().Be(irqfds);
        if (route is null)
            return;
        route.TrySet(Apic, 0x52).Should().BeTrue();
        IsRequested(0x52).Should().BeFalse();
        route.Signal();
        Arrives(0x52);
        route.TrySet(Apic, 0x63).Should().BeTrue();
        route.Signal();
        Arrives(0x63);
    }

    [SkippableFact]
    public void Pins_of_the_chips_lead_where_they_led_before_a_table_was_set()
    {
        using var routes = new KvmMsiRoutes(Vm);
        for (uint i = 0; i < 3; i++)
            routes.TryAdd()!.TrySet(Apic, 0x70 + i).Should().BeTrue();
        foreach (uint gsi in (uint[])[4, 9, 20])
        {
            Vm.IrqLine(gsi, true).Should().Be(0);
            Vm.GetIrqchip(KvmIrqchipId.Ioapic, out var ioapic);
            (ioapic.Chip.Ioapic.Irr >> (int)gsi & 1).Should().Be(1, $"pin {gsi}");
            Vm.IrqLine(gsi, false);
        }
    }

    [SkippableFact]
    public void Routes_end_at_their_bound_and_bad_messages_harm_no_other()
    {
        using var routes = new KvmMsiRoutes(Vm);
        var first = routes.TryAdd()!;
        first.TrySet(Apic, 0x41).Should().BeTrue();
        // Whatever a guest writes into its table.
        routes.TryAdd()!.TrySet(ulong.MaxValue, uint.MaxValue);
        for (int i = 2; i < KvmMsiRoutes.MaxMessages; i++)
            routes.TryAdd().Should().NotBeNull();
        routes.TryAdd().Should().BeNull();
        first.Signal();
        Arrives(0x41);
    }

    /// <summary>What a guest may write into an MSI-X table: everything but an address of local APICs is nobody's (SDM vol. 3, 11.11.1).</summary>
    [SkippableTheory]
    [InlineData(0UL)]
    [InlineData(ulong.MaxValue)]
    [InlineData(0xfed0_0000UL)]
    [InlineData(0xfef0_0000UL)]
    [InlineData(Apic | 1UL << 32)]
    [InlineData(0xffff_fff0_0000_0000)]
    public void Message_to_an_address_that_is_no_interrupt_s_is_dropped_and_the_next_one_arrives(ulong address)
    {
        using var sink = new KvmMsiSink(Vm, null);
        foreach (uint data in (uint[])[0, 0x55, 0x755, uint.MaxValue])
            FluentActions.Invoking(() => sink.Send(address, data)).Should().NotThrow();
        for (int vector = 0; vector < 256; vector++)
            IsRequested((byte)vector).Should().BeFalse();
        sink.Send(Apic, 0x63);
        IsRequested(0x63).Should().BeTrue();
    }

    /// <summary>Vectors below 16, delivery modes and destinations that there are not: KVM's to refuse.</summary>
    [SkippableTheory]
    [InlineData(Apic, 0u)]
    [InlineData(Apic, 0x0fu)]
    [InlineData(Apic, 0x355u)]
    [InlineData(Apic, uint.MaxValue)]
    [InlineData(Apic | 0x7_f000, 0x55u)]
    public void Message_that_nobody_takes_is_dropped_and_the_next_one_arrives(ulong address, uint data)
    {
        using var sink = new KvmMsiSink(Vm, null);
        FluentActions.Invoking(() => sink.Send(address, data)).Should().NotThrow();
        IsRequested(0x55).Should().BeFalse();
        sink.Send(Apic, 0x63);
        IsRequested(0x63).Should().BeTrue();
    }

    [SkippableTheory]
    [InlineData(0UL, 0u)]
    [InlineData(0UL, 0x55u)]
    [InlineData(ulong.MaxValue, uint.MaxValue)]
    public void Signal_of_a_route_that_was_refused_is_dropped_and_another_s_arrives(ulong address, uint data)
    {
        using var routes = new KvmMsiRoutes(Vm);
        var bad = routes.TryAdd()!;
        bad.TrySet(address, data).Should().BeFalse();
        FluentActions.Invoking(bad.Signal).Should().NotThrow();
        var good = routes.TryAdd()!;
        good.TrySet(Apic, 0x41).Should().BeTrue();
        good.Signal();
        Arrives(0x41);
        IsRequested(0x55).Should().BeFalse();
    }

    [SkippableFact]
    public void Signal_allocates_nothing()
    {
        using var routes = new KvmMsiRoutes(Vm);
        var route = routes.TryAdd()!;
        route.TrySet(Apic, 0x41).Should().BeTrue();
        Allocation.Of(_ => route.Signal(), times: 1000).Should().Be(0);
    }

    /// <summary>KVM may leave an irqfd's delivery to a worker.</summary>
    private void Arrives(byte vector) => SpinWait.SpinUntil(() => IsRequested(vector), TimeSpan.FromSeconds(30)).Should().BeTrue();
}
