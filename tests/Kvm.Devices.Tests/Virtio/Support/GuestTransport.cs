using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Transport;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>The guest's way to a device's registers: what a driver does is the same whatever carries it.</summary>
internal abstract class GuestTransport(VirtioDevice device)
{
    public const byte Acknowledge = 1, Driver = 2, DriverOk = 4, FeaturesOk = 8, NeedsReset = 64, Failed = 128;

    public VirtioDevice Device => device;

    public abstract byte Status { get; set; }

    public abstract uint Generation { get; }

    public abstract IStateful[] Parts { get; }

    /// <summary>The wire, for both transports without messages.</summary>
    public RecordingLine Line { get; } = new();

    public abstract ulong Offered { get; }

    public abstract void Accept(ulong features);

    public abstract int QueueSize(int queue);

    public abstract bool QueueEnabled(int queue);

    public abstract void SetQueueSize(int queue, int size);

    public abstract void SetQueueAddresses(int queue, ulong descriptors, ulong driver, ulong device);

    public abstract void EnableQueue(int queue);

    public abstract void ResetQueue(int queue);

    public abstract void Notify(int queue);

    public abstract void ReadConfig(int offset, Span<byte> data);

    public abstract void WriteConfig(int offset, ReadOnlySpan<byte> data);

    /// <summary>Reads why there was an interrupt, and acknowledges it.</summary>
    public abstract byte TakeInterrupt();

    public static GuestTransport Make(bool pci, VirtioDevice device) => pci ? new GuestPci(device) : new GuestMmio(device);

    /// <summary>The driver's part of 3.1.1, steps 1 to 6; true if the device took the features.</summary>
    public bool Negotiate(ulong features)
    {
        Status = 0;
        Status = Acknowledge;
        Status = Acknowledge | Driver;
        Accept(features);
        Status = Acknowledge | Driver | FeaturesOk;
        return (Status & FeaturesOk) != 0;
    }

    public void SetUp(int queue, FakeDriver driver)
    {
        var setup = driver.Setup;
        SetQueueSize(queue, setup.Size);
        SetQueueAddresses(queue, setup.DescriptorArea, setup.DriverArea, setup.DeviceArea);
        EnableQueue(queue);
    }

    public void SetDriverOk() => Status = Acknowledge | Driver | FeaturesOk | DriverOk;

    /// <summary>Features that make a device use rings as the driver does.</summary>
    public static ulong FeaturesOf(FakeDriver driver) => VirtioFeature.Version1 | VirtioFeature.IndirectDescriptors
        | (driver.Setup.Packed ? VirtioFeature.RingPacked : 0) | (driver.EventIndex ? VirtioFeature.EventIndex : 0);

    /// <summary>Everything at once: negotiation, the queues in order, DRIVER_OK.</summary>
    public void Start(ulong features, params ReadOnlySpan<FakeDriver> drivers)
    {
        if (!Negotiate(features | FeaturesOf(drivers[0])))
            throw new InvalidOperationException("the device refuses the features");
        for (int i = 0; i < drivers.Length; i++)
            SetUp(i, drivers[i]);
        SetDriverOk();
    }
}

/// <summary>Over virtio-mmio (virtio 1.2, 4.2).</summary>
internal sealed class GuestMmio : GuestTransport
{
    public GuestMmio(VirtioDevice device)
        : base(device) => Registers = new VirtioMmio(device, Line);

    public VirtioMmio Registers { get; }

    public override IStateful[] Parts => [Device, Registers];

    public override byte Status
    {
        get => (byte)Registers.In32(0x70);
        set => Registers.Out32(0x70, value);
    }

    public override uint Generation => Registers.In32(0xfc);

    public override ulong Offered
    {
        get
        {
            Registers.Out32(0x14, 0);
            ulong low = Registers.In32(0x10);
            Registers.Out32(0x14, 1);
            return low | (ulong)Registers.In32(0x10) << 32;
        }
    }

    public override void Accept(ulong features)
    {
        Registers.Out32(0x24, 0);
        Registers.Out32(0x20, (uint)features);
        Registers.Out32(0x24, 1);
        Registers.Out32(0x20, (uint)(features >> 32));
    }

    public override int QueueSize(int queue)
    {
        Registers.Out32(0x30, (uint)queue);
        return (int)Registers.In32(0x34);
    }

    public override bool QueueEnabled(int queue)
    {
        Registers.Out32(0x30, (uint)queue);
        return Registers.In32(0x44) != 0;
    }

    public override void SetQueueSize(int queue, int size)
    {
        Registers.Out32(0x30, (uint)queue);
        Registers.Out32(0x38, (uint)size);
    }

    public override void SetQueueAddresses(int queue, ulong descriptors, ulong driver, ulong device)
    {
        Registers.Out32(0x30, (uint)queue);
        foreach (var (offset, address) in ((uint, ulong)[])[(0x80, descriptors), (0x90, driver), (0xa0, device)])
        {
            Registers.Out32(offset, (uint)address);
            Registers.Out32(offset + 4, (uint)(address >> 32));
        }
    }

    public override void EnableQueue(int queue)
    {
        Registers.Out32(0x30, (uint)queue);
        Registers.Out32(0x44, 1);
    }

    public void DisableQueue(int queue)
    {
        Registers.Out32(0x30, (uint)queue);
        Registers.Out32(0x44, 0);
    }

    public override void ResetQueue(int queue)
    {
        Registers.Out32(0x30, (uint)queue);
        Registers.Out32(0xc0, 1);
    }

    public override void Notify(int queue) => Registers.Out32(VirtioMmio.QueueNotifyOffset, (uint)queue);

    public override void ReadConfig(int offset, Span<byte> data) => Registers.Read(0x100 + (ulong)offset, data);

    public override void WriteConfig(int offset, ReadOnlySpan<byte> data) => Registers.Write(0x100 + (ulong)offset, data);

    public override byte TakeInterrupt()
    {
        byte reasons = (byte)Registers.In32(0x60);
        Registers.Out32(0x64, reasons);
        return reasons;
    }
}

/// <summary>Over virtio-pci (virtio 1.2, 4.1), found by its capabilities on a bus with the machine's resources given away.</summary>
internal sealed class GuestPci : GuestTransport
{
    public const int Slot = 3 << 3;
    private const ulong PortWindow = 0xc000, MemoryWindow = 0xc000_0000;

    private readonly Dictionary<int, (int Bar, uint Offset, uint Length)> _structures = [];

    public GuestPci(VirtioDevice device, bool transitional = false)
        : base(device)
    {
        Function = new VirtioPci(device, Messages, Line, transitional);
        Bus = new PciBus(Ports, Mmio);
        Bus.Add(Slot, Function);
        Bus.AssignResources(new PciResources((PortWindow, 0x1000), (MemoryWindow, 0x10_0000), (1UL << 40, 1UL << 30), (slot, pin) => (byte)(16 + slot + pin)));
        FindStructures();
    }

    public IoBus Ports { get; } = new();

    public IoBus Mmio { get; } = new();

    public PciBus Bus { get; }

    public VirtioPci Function { get; }

    public RecordingMsi Messages { get; } = new();

    public int MsixCapability { get; private set; }

    public int AccessCapability { get; private set; }

    public uint NotifyMultiplier { get; private set; }

    public IReadOnlyDictionary<int, (int Bar, uint Offset, uint Length)> Structures => _structures;

    public override IStateful[] Parts => [Device, Function];

    public override byte Status
    {
        get => (byte)Read(Common + 0x14, 1);
        set => Write(Common + 0x14, 1, value);
    }

    public override uint Generation => (uint)Read(Common + 0x15, 1);

    public override ulong Offered
    {
        get
        {
            Write(Common, 4, 0);
            ulong low = Read(Common + 4, 4);
            Write(Common, 4, 1);
            return low | Read(Common + 4, 4) << 32;
        }
    }

    public ulong Common => Address(1);

    public ulong Isr => Address(3);

    /// <summary>The address a structure's capability says.</summary>
    public ulong Address(int type) => BarAddress(_structures[type].Bar) + _structures[type].Offset;

    public ulong BarAddress(int bar) => Config32(0x10 + bar * 4) & ~15u;

    public uint Config32(int offset)
    {
        Span<byte> data = stackalloc byte[4];
        Bus.ReadConfig(Slot, offset, data);
        return BitConverter.ToUInt32(data);
    }

    public void SetConfig(int offset, int width, uint value) => Bus.WriteConfig(Slot, offset, BitConverter.GetBytes(value).AsSpan(0, width));

    public ulong Read(ulong address, int width)
    {
        byte[] data = new byte[8];
        Mmio.Read(address, data.AsSpan(0, width));
        return BitConverter.ToUInt64(data);
    }

    public void Write(ulong address, int width, ulong value) => Mmio.Write(address, BitConverter.GetBytes(value).AsSpan(0, width));

    public override void Accept(ulong features)
    {
        Write(Common + 8, 4, 0);
        Write(Common + 12, 4, features & 0xffff_ffff);
        Write(Common + 8, 4, 1);
        Write(Common + 12, 4, features >> 32);
    }

    public void Select(int queue) => Write(Common + 0x16, 2, (ulong)queue);

    public override int QueueSize(int queue)
    {
        Select(queue);
        return (int)Read(Common + 0x18, 2);
    }

    public override bool QueueEnabled(int queue)
    {
        Select(queue);
        return Read(Common + 0x1c, 2) != 0;
    }

    public override void SetQueueSize(int queue, int size)
    {
        Select(queue);
        Write(Common + 0x18, 2, (ulong)size);
    }

    public override void SetQueueAddresses(int queue, ulong descriptors, ulong driver, ulong device)
    {
        Select(queue);
        Write(Common + 0x20, 4, descriptors & 0xffff_ffff);
        Write(Common + 0x24, 4, descriptors >> 32);
        Write(Common + 0x28, 8, driver);
        Write(Common + 0x30, 8, device);
    }

    public int SetQueueVector(int queue, int vector)
    {
        Select(queue);
        Write(Common + 0x1a, 2, (ulong)vector);
        return (int)Read(Common + 0x1a, 2);
    }

    public int SetConfigVector(int vector)
    {
        Write(Common + 0x10, 2, (ulong)vector);
        return (int)Read(Common + 0x10, 2);
    }

    /// <summary>Switches MSI-X on and gives every vector a message of its own.</summary>
    public void EnableMsix()
    {
        SetConfig(MsixCapability + 2, 2, 0x8000);
        int vectors = (int)(Config32(MsixCapability) >> 16 & 0x7ff) + 1;
        for (int i = 0; i < vectors; i++)
            SetVector(i, 0xfee0_0000, (uint)(0x40 + i), masked: false);
    }

    public void SetVector(int vector, ulong address, uint data, bool masked)
    {
        ulong entry = BarAddress(1) + (ulong)vector * 16;
        Write(entry, 4, address & 0xffff_ffff);
        Write(entry + 4, 4, address >> 32);
        Write(entry + 8, 4, data);
        Write(entry + 12, 4, masked ? 1u : 0);
    }

    public override void EnableQueue(int queue)
    {
        Select(queue);
        Write(Common + 0x1c, 2, 1);
    }

    public override void ResetQueue(int queue)
    {
        Select(queue);
        Write(Common + 0x3a, 2, 1);
    }

    public override void Notify(int queue)
    {
        Select(queue);
        ulong offset = Read(Common + 0x1e, 2) * NotifyMultiplier;
        Write(Address(2) + offset, 2, (ulong)queue);
    }

    public override void ReadConfig(int offset, Span<byte> data) => Mmio.Read(Address(4) + (ulong)offset, data);

    public override void WriteConfig(int offset, ReadOnlySpan<byte> data) => Mmio.Write(Address(4) + (ulong)offset, data);

    public override byte TakeInterrupt() => (byte)Read(Isr, 1);

    private void FindStructures()
    {
        for (int at = (int)(Config32(0x34) & 0xff); at != 0; at = (int)(Config32(at) >> 8 & 0xff))
        {
            uint head = Config32(at);
            if ((head & 0xff) == 0x11)
                MsixCapability = at;
            if ((head & 0xff) != 0x09)
                continue;
            int type = (int)(head >> 24);
            _structures.TryAdd(type, ((int)(Config32(at + 4) & 0xff), Config32(at + 8), Config32(at + 12)));
            if (type == 2)
                NotifyMultiplier = Config32(at + 16);
            if (type == 5)
                AccessCapability = at;
        }
    }
}
