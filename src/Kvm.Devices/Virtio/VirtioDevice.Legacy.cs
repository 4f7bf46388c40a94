using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio;

/// <summary>
/// What drivers from before virtio 1.0 do otherwise (virtio 1.2, 2.2.3, 2.7.2, 3.1.2): no FEATURES_OK, a queue placed by one page number, and used
/// perhaps before DRIVER_OK. Numbers are of the guest's byte order, which is little-endian here as the modern interface's is.
/// </summary>
public abstract partial class VirtioDevice
{
    /// <summary>VIRTIO_F_ANY_LAYOUT, a bit of the legacy interface alone (6.3): requests need not be cut into header, data and status.</summary>
    private const ulong AnyLayout = 1UL << 27;

    /// <summary>What a ring's parts are aligned to, and its address counted in.</summary>
    private const ulong LegacyPage = 4096;

    /// <summary>True if a transport shows the legacy interface besides the modern one. Set by it, before a guest runs.</summary>
    internal bool IsTransitional { get; set; }

    /// <summary>The bits a legacy driver sees: the lower 32 (2.2.3).</summary>
    internal uint LegacyOffered => (uint)((OfferedFeatures | AnyLayout) & uint.MaxValue);

    /// <summary>A legacy driver writes the status: zero resets, other bits can be set. There is no FEATURES_OK: DRIVER_OK settles the features.</summary>
    internal void WriteLegacyStatus(byte value)
    {
        if (value == 0)
        {
            WriteStatus(0);
            return;
        }

        bool started;
        lock (_control)
        {
            int wanted = value & VirtioStatus.DriverBits & ~VirtioStatus.FeaturesOk & ~Status;
            started = (wanted & VirtioStatus.DriverOk) != 0;
            // It cannot be told that it took too much (2.2.3): what was not offered it does not get.
            if (started && (Status & VirtioStatus.FeaturesOk) == 0)
                _driverFeatures = LegacyFeatures(_driverFeatures);
            SetStatus(wanted);
        }

        if (started)
            WakeAll();
    }

    /// <summary>The page number of a queue's ring; 0 if there is no such queue or the driver has not placed it.</summary>
    internal uint LegacyQueuePage(int index)
    {
        var registers = QueueRegistersOf(index);
        return registers.Enabled ? (uint)(registers.DescriptorArea / LegacyPage & uint.MaxValue) : 0;
    }

    /// <summary>Places a queue's ring at a page, which makes it available (4.1.5.1.3.1); 0 takes it away, and when it returns nothing of it is under way.</summary>
    internal void SetLegacyQueue(int index, uint page)
    {
        if ((uint)index >= (uint)_queues.Length)
            return;
        lock (_control)
        {
            if (page == 0)
            {
                StopQueue(index, abandon: true);
                _registers[index] = new QueueRegisters { Size = (ushort)_queues[index].MaxSize };
                return;
            }

            ref var registers = ref _registers[index];
            if (registers.Enabled)
                return;
            // 2.7.2: the used ring begins at the next page behind the available ring with its event index. At most 2^44 + 2^21: nothing wraps.
            ulong size = (ulong)_queues[index].MaxSize;
            registers.Size = (ushort)size;
            registers.DescriptorArea = page * LegacyPage;
            registers.DriverArea = registers.DescriptorArea + 16 * size;
            registers.DeviceArea = (registers.DriverArea + 6 + 2 * size + LegacyPage - 1) & ~(LegacyPage - 1);
        }

        EnableQueue(index);
    }

    /// <summary>3.1.2: some legacy drivers use the device before DRIVER_OK, when they look at a disk to find its partitions.</summary>
    internal void NotifyLegacy(int index)
    {
        if (!IsActive && (Status & VirtioStatus.Driver) != 0)
            WriteLegacyStatus(VirtioStatus.DriverOk);
        Notify(index);
    }

    private ulong LegacyFeatures(ulong accepted)
    {
        ulong features = accepted & OfferedFeatures & uint.MaxValue;
        return CanAccept(features | VirtioFeature.Version1) ? features : 0;
    }
}
