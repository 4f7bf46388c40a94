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
        Start(new VirtioMmio(device, null), 0);
        told.Wait(s_limit).Should().BeTrue();
        text.Should().StartWith("thrower0: ").And.Contain("on purpose");
    }

    [Theory]
    [InlineData(false, 0, false)]
    [InlineData(false, 0, true)]
    [InlineData(true, 0, false)]
    [InlineData(true, 1, false)]
    [InlineData(true, 1, true)]
    public void No_request_is_lost_between_looking_and_sleeping(bool isCard, int queue, bool pauses)
    {
        const int Requests = 20_000, Flags = 0x3000, UsedIndex = 0x3002, AvailableIndex = 0x2002;
        var device = new Probe(_memory, 2);
        using var thread = new DeviceThread(device, _ => { }, isCard ? LooksFor.Answers : LooksFor.Requests);
        device.Schedule(thread);
        Start(new VirtioMmio(device, null), queue);
        // One descriptor, a byte to be written by the device; each ring entry names it.
        _memory.TryWrite(0x1000, [0, 0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]).Should().BeTrue();
        for (int i = 1; i <= Requests; i++)
        {
            _memory.TryWrite(AvailableIndex, (ushort)i);
            Interlocked.MemoryBarrier();
            if ((Load(Flags) & 1) == 0)
                thread.Wake(device, queue);
            SpinWait.SpinUntil(() => Load(UsedIndex) == (ushort)i, s_limit).Should().BeTrue("request {0} is answered", i);
            if (pauses && i % 8 == 0)
                Thread.Yield();
        }

        ushort Load(ulong at) => _memory.TryRead(at, out ushort value) ? value : throw new InvalidOperationException($"{at:x} is not memory");
    }

    [Fact]
    public void Answer_to_what_came_in_is_found_without_a_bell()
    {
        using var answered = new ManualResetEventSlim();
        var device = new Answerer(_memory, answered);
        var failures = new List<string>();
        using var thread = new DeviceThread(device, failures.Add, LooksFor.Answers);
        device.Schedule(new QueueZeroAlone(thread));
        // One descriptor in each ring; the one of what goes out is not available yet.
        foreach (ulong table in (ulong[])[0x1000, 0x5000])
            _memory.TryWrite(table, [0, 0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]).Should().BeTrue();
        _memory.TryWrite(0x2002, (ushort)1).Should().BeTrue();
        Start(new VirtioMmio(device, null), 0, 1);
        answered.Wait(s_limit).Should().BeTrue();
        failures.Should().BeEmpty();
    }

    /// <summary>What a driver does until DRIVER_OK, which wakes every queue (virtio 1.2, 3.1.1).</summary>
    private static void Start(VirtioMmio registers, params int[] queues)
    {
        Write([(0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11)]);
        for (int i = 0; i < queues.Length; i++)
        {
            uint place = 0x1000 + (uint)i * 0x4000;
            Write([(0x30, (uint)queues[i]), (0x38, 4), (0x80, place), (0x90, place + 0x1000), (0xa0, place + 0x2000), (0x44, 1)]);
        }

        Write([(0x70, 15)]);

        void Write(ReadOnlySpan<(int Register, uint Value)> steps)
        {
            foreach (var (register, value) in steps)
                registers.Write((ulong)register, BitConverter.GetBytes(value));
        }
    }

    private sealed class QueueZeroAlone(DeviceThread thread) : IQueueScheduler
    {
        public void Wake(VirtioDevice device, int queue)
        {
            if (queue == 0)
                thread.Wake(device, queue);
        }
    }

    /// <summary>A card whose guest answers to what came in when it was looked at twice; queue 1 is at 0x5000.</summary>
    private sealed class Answerer(GuestMemory memory, ManualResetEventSlim answered) : VirtioDevice("answerer0", VirtioDeviceType.Net, memory, 0, [4, 4], 0)
    {
        private int _came, _looks;

        protected override bool HasEnded(int index)
        {
            if (index == 1 && _came > 0 && ++_looks == 2)
                Memory.TryWrite(0x6002, (ushort)1);
            return false;
        }

        protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
        {
            if (index == 0)
                _came++;
            else
                answered.Set();
            return base.OnChain(index, queue, ref chain);
        }
    }

    /// <summary>Its queue cannot be asked for without an exception.</summary>
    private sealed class Thrower(GuestMemory memory) : VirtioDevice("thrower0", VirtioDeviceType.Entropy, memory, 0, [4], 0)
    {
        protected override bool OnQueue(int index, VirtQueue queue) => throw new InvalidOperationException("on purpose");
    }
}
