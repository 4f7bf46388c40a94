using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Tests.Fuzz;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Transport;

namespace Kvm.Devices.Tests.Virtio.Transport;

/// <summary>
/// Every width from 1 to 8 at every offset of every window that a guest has, of the real devices, read and written: nothing throws, a read is made
/// of no leftovers, nothing outside the guest's memory is touched, and a reset mends whatever became of the device.
/// </summary>
public sealed class AllAccessesTests
{
    private const ulong MmioPage = 0xfeb0_0000, Ecam = 0xe000_0000, EcamSize = 256 << 20, ConfigPorts = 0xcf8;
    private const int EmptySlot = 31 << 3 | 7;

    private static readonly ulong[] Values = [0, 1, 0xffff, GuestArena.Base, ulong.MaxValue];

    public static TheoryData<string> Devices => new("virtio-blk", "virtio-rng", "virtio-balloon", "virtio-console", "virtio-net");

    /// <summary>A device that a driver has started, behind a transport on buses.</summary>
    private sealed class Rig : IDisposable
    {
        private readonly FuzzTarget _target;
        private readonly FakeSplitDriver[] _drivers;

        public Rig(string name, bool pci, bool transitional = false)
        {
            _target = FuzzTarget.Create(name);
            Device = _target.Make(Arena);
            Device.Schedule(new InlineScheduler());
            Transport = pci ? new GuestPci(Device, transitional) : new GuestMmio(Device);
            _drivers = Enumerable.Range(0, Device.QueueCount).Select(_ => new FakeSplitDriver(Arena, 8)).ToArray();
            Mmio = (Transport as GuestPci)?.Mmio ?? new IoBus();
            if (Transport is GuestMmio registers)
                Mmio.Add(MmioPage, VirtioMmio.Size, registers.Registers);
            Restart();
        }

        public GuestArena Arena { get; } = new(1 << 20);

        public VirtioDevice Device { get; }

        public GuestTransport Transport { get; }

        public GuestPci Pci => (GuestPci)Transport;

        public IoBus Mmio { get; }

        /// <summary>What was under way ends, and the driver begins anew.</summary>
        public void Restart()
        {
            foreach (var driver in _drivers)
                driver.StartOver();
            Transport.Start(0, _drivers);
            Transport.TakeInterrupt();
        }

        /// <summary>Puts what a guest may have moved where it was.</summary>
        public void RestoreAddresses()
        {
            Pci.SetConfig(4, 2, 0);
            foreach (var (bar, address) in ((int, uint)[])[(0, 0xc000), (1, 0xd000_0000), (4, 0xd100_0000)])
                Pci.SetConfig(0x10 + 4 * bar, 4, address);
            Pci.SetConfig(4, 2, 3);
            Pci.SetConfig(Pci.MsixCapability + 2, 2, 0);
        }

        public void IsWhole()
        {
            Arena.IsTheHostIntact.Should().BeTrue();
            _target.Check(Arena).Should().BeNull();
            Restart();
            var (queue, request) = _target.GoodRequest(Arena);
            _drivers[queue].Add(request);
            Transport.Notify(queue);
            _drivers[queue].TakeUsed().Should().NotBeNull("a reset mends it");
            Arena.IsTheHostIntact.Should().BeTrue();
        }

        public void Dispose()
        {
            _target.Dispose();
            Arena.Dispose();
        }
    }

    /// <summary>Reads all, then writes all.</summary>
    /// <param name="bus">Where.</param>
    /// <param name="start">The first address.</param>
    /// <param name="size">Of how many an access begins at.</param>
    /// <param name="prepare">Called before each offset is written to: a device that is broken already has little to say.</param>
    /// <returns>How many accesses there were.</returns>
    private static long AccessAll(IoBus bus, ulong start, int size, Action<int> prepare)
    {
        Span<byte> first = stackalloc byte[8], second = stackalloc byte[8];
        long accesses = 0;
        for (int offset = 0; offset < size; offset++)
        {
            for (int width = 1; width <= 8; width++, accesses += 2)
            {
                // A byte that nobody made would be a different one each time.
                first.Fill(0xa5);
                second.Fill(0x5a);
                bus.Read(start + (ulong)offset, first[..width]);
                bus.Read(start + (ulong)offset, second[..width]);
                if (!first[..width].SequenceEqual(second[..width]))
                    Assert.Fail($"{width} bytes at {start:x}+{offset:x} are read as {Convert.ToHexString(first[..width])}, then {Convert.ToHexString(second[..width])}");
                if (first[width..].ContainsAnyExcept((byte)0xa5))
                    Assert.Fail($"{width} bytes at {start:x}+{offset:x} were more");
            }
        }

        for (int offset = 0; offset < size; offset++)
        {
            prepare(offset);
            for (int width = 1; width <= 8; width++)
            {
                foreach (ulong value in Values)
                {
                    BitConverter.TryWriteBytes(first, value);
                    bus.Write(start + (ulong)offset, first[..width]);
                    accesses++;
                }
            }
        }

        return accesses;
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_width_at_every_offset_of_the_mmio_page_throws_nothing_and_a_reset_mends_all(string device)
    {
        using var rig = new Rig(device, pci: false);
        AccessAll(rig.Mmio, MmioPage - 8, (int)VirtioMmio.Size + 16, offset => Every(64, offset, rig.Restart)).Should().Be((4096 + 16) * 8 * 7);
        rig.IsWhole();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_width_at_every_offset_of_the_pci_structures_and_the_msix_table_throws_nothing_and_a_reset_mends_all(string device)
    {
        using var rig = new Rig(device, pci: true);
        rig.Pci.Structures.Where(s => s.Key != 5).Should().OnlyContain(s => s.Value.Bar == 4, "common, ISR, notification and device registers are in one");
        ulong registers = rig.Pci.BarAddress(4), table = rig.Pci.BarAddress(1);
        AccessAll(rig.Mmio, registers, SizeOf(rig.Pci, 4) + 8, offset => Every(64, offset, rig.Restart));
        rig.IsWhole();

        rig.Pci.EnableMsix();
        AccessAll(rig.Mmio, table, SizeOf(rig.Pci, 1) + 8, offset => Every(64, offset, rig.Restart));
        rig.Pci.SetConfig(rig.Pci.MsixCapability + 2, 2, 0);
        rig.IsWhole();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_width_at_every_offset_of_the_legacy_window_throws_nothing_and_a_reset_mends_all(string device)
    {
        using var rig = new Rig(device, pci: true, transitional: true);
        ulong window = rig.Pci.Config32(0x10) & ~3u;
        foreach (uint msix in (uint[])[0, 0x8000])
        {
            // The device's configuration begins where the vectors are, or behind them.
            rig.Pci.SetConfig(rig.Pci.MsixCapability + 2, 2, msix);
            AccessAll(rig.Pci.Ports, window, SizeOf(rig.Pci, 0) + 8, _ => rig.Restart());
        }

        rig.Pci.SetConfig(rig.Pci.MsixCapability + 2, 2, 0);
        rig.IsWhole();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_width_at_every_offset_of_configuration_space_by_ports_throws_nothing_and_changes_no_identity(string device)
    {
        using var rig = new Rig(device, pci: true, transitional: true);
        uint identity = rig.Pci.Config32(0);
        rig.Pci.Bus.Add(0, new PciHostBridge("pci-host"));
        rig.Pci.Ports.Add(ConfigPorts, PciConfigPorts.Size, new PciConfigPorts("pci-config", rig.Pci.Bus));
        foreach (int slot in (int[])[0, GuestPci.Slot, EmptySlot])
        {
            for (uint register = 0; register < 256; register += 4)
            {
                byte[] select = BitConverter.GetBytes(0x8000_0000u | (uint)slot << 8 | register);
                rig.Pci.Ports.Write(ConfigPorts, select);
                AccessAll(rig.Pci.Ports, ConfigPorts, PciConfigPorts.Size + 8, _ => rig.Pci.Ports.Write(ConfigPorts, select));
            }
        }

        rig.Pci.Config32(0).Should().Be(identity);
        rig.RestoreAddresses();
        rig.IsWhole();
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_width_at_every_offset_of_ecam_over_the_ends_of_functions_and_the_bus_throws_nothing_and_changes_no_identity(string device)
    {
        using var rig = new Rig(device, pci: true, transitional: true);
        uint identity = rig.Pci.Config32(0);
        rig.Pci.Bus.Add(0, new PciHostBridge("pci-host"));
        rig.Mmio.Add(Ecam, EcamSize, new PciEcam(rig.Pci.Bus));
        static void Nothing(int offset)
        {
        }

        AccessAll(rig.Mmio, Ecam - 8, 4096 + 16, Nothing);
        AccessAll(rig.Mmio, Ecam + (GuestPci.Slot << 12) - 8, 4096 + 16, Nothing);
        AccessAll(rig.Mmio, Ecam + (EmptySlot << 12) - 8, 4096 + 16, Nothing);
        AccessAll(rig.Mmio, Ecam + EcamSize - 16, 32, Nothing);
        rig.Pci.Config32(0).Should().Be(identity);
        rig.RestoreAddresses();
        rig.IsWhole();
    }

    private static void Every(int offsets, int offset, Action action)
    {
        if (offset % offsets == 0)
            action();
    }

    /// <summary>What a base address register decodes, as a guest finds out: in bytes.</summary>
    private static int SizeOf(GuestPci guest, int bar)
    {
        int at = 0x10 + 4 * bar;
        uint command = guest.Config32(4) & 0xffff, address = guest.Config32(at);
        guest.SetConfig(4, 2, 0);
        guest.SetConfig(at, 4, uint.MaxValue);
        uint size = ~(guest.Config32(at) & ~((address & 1) != 0 ? 3u : 15u)) + 1;
        guest.SetConfig(at, 4, address);
        guest.SetConfig(4, 2, command);
        return (int)size;
    }
}
