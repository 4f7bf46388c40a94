using Kvm.Devices.Tests.Support;
using Kvm.Devices.Virtio;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>A guest whose driver has started a device of any type, with a ring for each of its queues.</summary>
internal sealed class DeviceGuest<T> : IDisposable where T : VirtioDevice
{
    private readonly bool _pci;

    public DeviceGuest(Func<GuestArena, T> make, ulong? features = null, bool pci = false, bool packed = false, int size = 8, int arena = 4 << 20)
    {
        Arena = new GuestArena(arena);
        _pci = pci;
        Device = make(Arena);
        Device.Schedule(new InlineScheduler());
        Transport = GuestTransport.Make(pci, Device);
        Drivers = Enumerable.Range(0, Device.QueueCount).Select(_ => FakeDriver.Make(packed, Arena, size)).ToArray();
        Transport.Start(features ?? Device.OfferedFeatures & 0xff_ffff, Drivers);
    }

    public GuestArena Arena { get; }

    public T Device { get; private set; }

    public GuestTransport Transport { get; private set; }

    public FakeDriver[] Drivers { get; }

    /// <summary>Offers a chain and notifies if the ring says so; gives what came back last, if anything did.</summary>
    public UsedBuffer? Run(int queue, params ReadOnlySpan<Element> elements)
    {
        Drivers[queue].Add(elements);
        if (Drivers[queue].MustNotify())
            Transport.Notify(queue);
        return Drivers[queue].TakeUsed();
    }

    /// <summary>A buffer of the driver's for the device to read.</summary>
    public Element Out(ReadOnlySpan<byte> bytes) => Element.Out(Arena.AllocateFilled(bytes), (uint)bytes.Length);

    /// <summary>Saves device and transport, makes new ones and goes on with those over the same memory.</summary>
    public void Move(Func<GuestArena, T> make)
    {
        Device.Pause();
        var next = make(Arena);
        next.Schedule(new InlineScheduler());
        var transport = GuestTransport.Make(_pci, next);
        foreach (var (from, to) in Transport.Parts.Zip(transport.Parts))
        {
            if (!to.RestoreState(from.SaveState()))
                throw new InvalidOperationException($"{from.StateName} is not taken back");
        }

        next.Resume();
        (Device, Transport) = (next, transport);
    }

    public void Dispose() => Arena.Dispose();
}
