using Kvm.Devices.Memory;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Queue;
using Kvm.Devices.Virtio.Transport;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Virtio;

public sealed class DeviceThreadTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private readonly AlignedBuffer _ram = new(64 << 10);
    private readonly GuestMemory _memory;

    public DeviceThreadTests() => _memory = new GuestMemory([new GuestRegion(0, 64 << 10, _ram.Buffer.Address)]);

    public void Dispose() => _ram.Dispose();

    /// <summary>Takes note of which queues run where; a driver is not needed for that.</summary>
    private sealed class Probe(GuestMemory memory, int queues)
        : VirtioDevice("probe0", VirtioDeviceType.Entropy, memory, 0, Enumerable.Repeat(4, queues).ToArray(), 0)
    {
    }

    [Fact]
    public void Thread_ends_when_it_is_disposed_of_with_and_without_work()
    {
        var device = new Probe(_memory, 2);
        var failures = new List<string>();
        new DeviceThread(device, failures.Add).Dispose();
        var thread = new DeviceThread(device, failures.Add);
        for (int i = 0; i < 1000; i++)
            thread.Wake(device, i & 1);
        thread.Dispose();
        failures.Should().BeEmpty();
    }

    [Fact]
    public void Bell_is_answered_whoever_rings_it()
    {
        var device = new Probe(_memory, 64);
        using var thread = new DeviceThread(device, _ => { });
        thread.BellOf(63).Signal();
        thread.Wake(device, 0);
        // The thread takes the counts away.
        SpinWait.SpinUntil(() => thread.BellOf(63).Drain() == 0 && thread.BellOf(0).Drain() == 0, s_limit).Should().BeTrue();
    }

    [Fact]
    public void Fault_of_the_program_is_told_and_not_thrown()
    {
        using var told = new ManualResetEventSlim();
        string? text = null;
        var device = new Thrower(_memory);
        using var thread = new DeviceThread(device, message =>
        {
            text = message;
            told.Set();
        });
        device.Schedule(thread);
        Start(new VirtioMmio(device, null));
        told.Wait(s_limit).Should().BeTrue();
        text.Should().StartWith("thrower0: ").And.Contain("on purpose");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void No_request_is_lost_between_looking_and_sleeping(bool pauses)
    {
        const int Requests = 20_000, Flags = 0x3000, UsedIndex = 0x3002, AvailableIndex = 0x2002;
        var device = new Probe(_memory, 1);
        using var thread = new DeviceThread(device, _ => { });
        device.Schedule(thread);
        Start(new VirtioMmio(device, null));
        // One descriptor, a byte to be written by the device; each ring entry names it.
        _memory.TryWrite(0x1000, [0, 0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]).Should().BeTrue();
        for (int i = 1; i <= Requests; i++)
        {
            _memory.TryWrite(AvailableIndex, (ushort)i);
            Interlocked.MemoryBarrier();
            if ((Load(Flags) & 1) == 0)
                thread.Wake(device, 0);
            SpinWait.SpinUntil(() => Load(UsedIndex) == (ushort)i, s_limit).Should().BeTrue("request {0} is answered", i);
            if (pauses && i % 8 == 0)
                Thread.Yield();
        }

        ushort Load(ulong at) => _memory.TryRead(at, out ushort value) ? value : throw new InvalidOperationException($"{at:x} is not memory");
    }

    /// <summary>What a driver does until DRIVER_OK, which wakes every queue (virtio 1.2, 3.1.1).</summary>
    private static void Start(VirtioMmio registers)
    {
        ReadOnlySpan<(int Register, uint Value)> steps =
        [
            (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x30, 0), (0x38, 4),
            (0x80, 0x1000), (0x90, 0x2000), (0xa0, 0x3000), (0x44, 1), (0x70, 15),
        ];
        foreach (var (register, value) in steps)
            registers.Write((ulong)register, BitConverter.GetBytes(value));
    }

    /// <summary>Its queue cannot be asked for without an exception.</summary>
    private sealed class Thrower(GuestMemory memory) : VirtioDevice("thrower0", VirtioDeviceType.Entropy, memory, 0, [4], 0)
    {
        protected override bool OnQueue(int index, VirtQueue queue) => throw new InvalidOperationException("on purpose");
    }
}
