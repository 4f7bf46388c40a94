using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Transport;
using Kvm.Interop;
using Kvm.Vmm.Console;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Vcpu;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Virtio;

/// <summary>A guest that moves a disk's registers about a whole machine's address space.</summary>
public sealed class MovedRegistersTests : IDisposable
{
    private const int Slot = 1 << 3, BaseAddress = 0x10 + 4 * VirtioPci.RegistersBar;
    private const ulong InRam = 0x40_0000;
    private const byte Filling = 0x6d;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);

    private readonly string _path = Path.GetTempFileName();
    private readonly IoBus _ports = new();
    private readonly IoBus _mmio = new();
    private readonly Engine _engine = new();
    private readonly RamMapping _ram;
    private readonly PlatformDevices _platform;
    private readonly VirtioSet _virtio;
    private readonly GuestArena _arena;
    private readonly FakeSplitDriver _driver;

    public MovedRegistersTests()
    {
        byte[] disk = new byte[4096];
        disk.AsSpan().Fill(0x42);
        File.WriteAllBytes(_path, disk);
        var config = new VmConfig { KernelPath = "k", MemoryBytes = 16 << 20, Disks = [new DiskConfig { Path = _path }] };
        var layout = new MachineLayout(config.MemoryBytes);
        _ram = new RamMapping(layout, config);
        var console = new ConsoleWatcher(null, null);
        _platform = new PlatformDevices(_ports, _mmio, _ram.Memory, _engine, console, TimeProvider.System, hasKeyboard: false);
        _virtio = new VirtioSet(config, layout, _ram, _engine, _platform.Pci, _mmio, console, null);
        _arena = new GuestArena(_ram.Memory, 1 << 20);
        _driver = new FakeSplitDriver(_arena, 8);
    }

    public void Dispose()
    {
        _virtio.Dispose();
        _platform.Dispose();
        _ram.Dispose();
        File.Delete(_path);
    }

    /// <summary>Configuration by ECAM, as Linux does it where there is an MCFG.</summary>
    private uint Config
    {
        get
        {
            Span<byte> data = stackalloc byte[4];
            _mmio.Read(MachineLayout.PciEcam.Start + (Slot << 12) + BaseAddress, data);
            return BinaryPrimitives.ReadUInt32LittleEndian(data) & ~15u;
        }
        set => _mmio.Write(MachineLayout.PciEcam.Start + (Slot << 12) + BaseAddress, BitConverter.GetBytes(value));
    }

    private void Out(ulong registers, ulong offset, int width, ulong value) => _mmio.Write(registers + offset, BitConverter.GetBytes(value).AsSpan(0, width));

    /// <summary>The driver's part of virtio 1.2, 3.1.1, by the common configuration of 4.1.4.3.</summary>
    private void StartDriver(ulong registers)
    {
        foreach (ulong status in (ulong[])[0, 1, 3])
            Out(registers, 0x14, 1, status);
        Out(registers, 8, 4, 1);
        Out(registers, 12, 4, 1); // VIRTIO_F_VERSION_1
        Out(registers, 0x14, 1, 11);
        Out(registers, 0x16, 2, 0);
        Out(registers, 0x18, 2, (ulong)_driver.Size);
        Out(registers, 0x20, 8, _driver.Table);
        Out(registers, 0x28, 8, _driver.Available);
        Out(registers, 0x30, 8, _driver.Used);
        Out(registers, 0x1c, 2, 1);
        Out(registers, 0x14, 1, 15);
    }

    private byte ReadSector(ulong registers)
    {
        ulong header = _arena.AllocateFilled(new byte[16]), data = _arena.Allocate(512), status = _arena.AllocateFilled([0xee]);
        _driver.Add(Element.Out(header, 16), Element.In(data, 512), Element.In(status, 1));
        Out(registers, VirtioPci.NotifyOffset, 2, 0);
        SpinWait.SpinUntil(() => _driver.TakeUsed() is not null, s_limit).Should().BeTrue("the disk answers");
        _arena.Bytes(status, 1)[0].Should().Be(0);
        return _arena.Bytes(data, 512)[511];
    }

    [Fact]
    public void Registers_over_memory_are_refused_without_a_doorbell_and_the_disk_works_when_they_are_moved_back()
    {
        uint home = Config;
        home.Should().BeGreaterThanOrEqualTo((uint)MachineLayout.PciMmio32.Start);
        _engine.Hung.Should().Equal(home + (ulong)VirtioPci.NotifyOffset);
        StartDriver(home);
        ReadSector(home).Should().Be(0x42);
        _arena.Memory.TrySlice(InRam, 0x4000, out var under).Should().BeTrue();
        under.Fill(Filling);

        Config = (uint)InRam;
        _platform.Pci.RefusedMappings.Should().Be(1);
        _platform.Counters()["bus"]["refusedPciMappings"].Should().Be(1);
        _engine.Hung.Should().BeEmpty("a doorbell in memory would not be the disk's");
        long unclaimed = _mmio.UnclaimedAccesses;
        Out(InRam, 0x14, 1, 0);
        Out(InRam, VirtioPci.NotifyOffset, 2, 0);
        Out(home, 0x14, 1, 0);
        (_mmio.UnclaimedAccesses - unclaimed).Should().Be(3, "the registers are nowhere");
        _arena.Memory.TrySlice(InRam, 0x4000, out under).Should().BeTrue();
        under.IndexOfAnyExcept(Filling).Should().Be(-1);

        Config = (uint)MachineLayout.ResetRom.Start;
        _platform.Pci.RefusedMappings.Should().Be(2, "the reset ROM is memory too");
        _engine.Hung.Should().BeEmpty();

        Config = home;
        _engine.Hung.Should().Equal(home + (ulong)VirtioPci.NotifyOffset);
        ReadSector(home).Should().Be(0x42);
        _platform.Pci.RefusedMappings.Should().Be(2);
    }

    /// <summary>Interrupts of nobody's, and doorbells that are noted.</summary>
    private sealed class Engine : IEngine, IMsiSink, IInterruptLine, IDoorbells
    {
        private readonly List<ulong> _hung = [];

        public IReadOnlyList<ulong> Hung => _hung;

        public string Name => "none";

        public IMsiSink Msi => this;

        public TimeProvider Time => TimeProvider.System;

        public IDoorbells? Doorbells => this;

        public IInterruptLine Line(uint gsi) => this;

        public IVcpuEngine CreateVcpu(int index) => throw new NotSupportedException("nothing runs here");

        public void Send(ulong address, uint data)
        {
        }

        public void Set(bool asserted)
        {
        }

        public bool TryAttach(EventFd bell, ulong address, uint? match)
        {
            _hung.Add(address);
            return true;
        }

        public void Detach(EventFd bell, ulong address, uint? match) => _hung.Remove(address).Should().BeTrue();

        public void Dispose()
        {
        }
    }
}
