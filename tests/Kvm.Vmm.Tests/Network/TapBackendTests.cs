using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Net;
using Kvm.Interop;
using Kvm.Tests.Support;
using Kvm.Vmm.Network;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Network;

/// <summary>Frames to and from the host's kernel, in a network of the test's own.</summary>
public sealed class TapBackendTests
{
    private const string Name = "kvmtest0";
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);
    private static readonly MacAddress s_own = new(0x5254_0012_3456);

    private sealed class Listener : INetworkListener
    {
        public List<bool> Links { get; } = [];

        public void FramesWaiting(int pair)
        {
        }

        public void RoomAgain(int pair)
        {
        }

        public void LinkChanged(bool up) => Links.Add(up);
    }

    private static void InNetwork(Action action)
    {
        NetworkNamespace.SkipWithoutTap();
        NetworkNamespace.Run(action);
    }

    private static TapBackend Open(int queues = 1) => (TapBackend)Open(new NetConfig { Kind = NetKind.Tap, Name = Name, Queues = queues });

    private static INetworkBackend Open(NetConfig config) => NetworkBackends.Open(config, _ => { }, null);

    /// <summary>Asks who has 10.9.0.1 (RFC 826), as 10.9.0.2.</summary>
    private static byte[] ArpRequest()
    {
        byte[] frame = new byte[42];
        MacAddress.Broadcast.Write(frame);
        s_own.Write(frame.AsSpan(6));
        byte[] body = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
        body.CopyTo(frame, 12);
        s_own.Write(frame.AsSpan(22));
        byte[] from = [10, 9, 0, 2], to = [10, 9, 0, 1];
        from.CopyTo(frame, 28);
        to.CopyTo(frame, 38);
        return frame;
    }

    private static bool IsArpReply(ReadOnlySpan<byte> frame) => frame.Length >= 42 && BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) == 0x0806 && frame[21] == 2;

    private static SendOutcome Send(TapBackend tap, byte[] frame, int pair = 0)
    {
        using var buffer = new AlignedBuffer(NetHeader.Size + frame.Length);
        frame.CopyTo(buffer.Buffer.Span[NetHeader.Size..]);
        // In two pieces, as a guest's.
        return tap.Send(pair, [buffer.Buffer.Slice(0, 30), buffer.Buffer.Slice(30)], buffer.Length);
    }

    /// <summary>Waits until a frame that is wanted is there; the kernel has others to send as well.</summary>
    private static bool Awaits(TapBackend tap, int pair, Predicate<byte[]> wanted)
    {
        var fds = new PollFd[] { new() { Fd = tap.DescriptorOf(pair), Events = PollFd.POLLIN } };
        var deadline = DateTime.UtcNow + s_limit;
        while (DateTime.UtcNow < deadline)
        {
            byte[] frame = tap.Peek(pair).ToArray();
            if (frame.Length == 0)
            {
                Descriptor.Poll(fds, 1000);
                continue;
            }

            tap.Peek(pair).ToArray().Should().Equal(frame, "it is there until it is taken");
            tap.Take(pair);
            if (wanted(frame[NetHeader.Size..]))
                return true;
        }

        return false;
    }

    [SkippableFact]
    public void Kernel_answers_a_frame_and_the_answer_is_there_until_it_is_taken() => InNetwork(() =>
    {
        using var tap = Open();
        tap.Connect(new Listener());
        (tap.SendOffloads & NetOffloads.Checksum).Should().NotBe(0);
        NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
        Send(tap, ArpRequest()).Should().Be(SendOutcome.Sent);
        Awaits(tap, 0, f => IsArpReply(f)).Should().BeTrue();
    });

    [SkippableFact]
    public void Datagram_of_the_host_reaches_the_driver_s_buffers_by_the_card_s_thread_and_the_answer_comes_back() => InNetwork(() =>
    {
        using var arena = new GuestArena(4 << 20);
        using var tap = Open();
        NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
        NetworkNamespace.Ip($"neigh add 10.9.0.2 lladdr {s_own} dev {Name}");
        using var device = new NetDevice("net0", arena.Memory, tap, new NetOptions { Mac = s_own });
        string? failure = null;
        using var thread = new DeviceThread(device, m => failure = m);
        device.Schedule(thread);
        var transport = GuestTransport.Make(false, device);
        FakeDriver[] drivers = [.. Enumerable.Range(0, 3).Select(_ => FakeDriver.Make(false, arena, 64))];
        transport.Start(device.OfferedFeatures & 0xff_ffff, drivers);
        tap.WatchBy(0, thread.WaitOf(0));
        var buffers = new Dictionary<ushort, ulong>();
        for (int i = 0; i < 32; i++)
        {
            ulong at = arena.Allocate(2048);
            buffers[drivers[0].Add(Element.In(at, 2048))] = at;
        }

        transport.Notify(0);
        using var socket = new UdpClient(new IPEndPoint(IPAddress.Parse("10.9.0.1"), 0));
        socket.Client.ReceiveTimeout = (int)s_limit.TotalMilliseconds;
        socket.Send("ping over tap"u8, new IPEndPoint(IPAddress.Parse("10.9.0.2"), 7));
        byte[] frame = [];
        SpinWait.SpinUntil(() =>
        {
            if (drivers[0].TakeUsed() is not { } used)
                return false;
            frame = arena.Bytes(buffers[used.Id], (int)used.Written).ToArray();
            return frame.AsSpan().IndexOf("ping over tap"u8) > 0;
        }, s_limit).Should().BeTrue(failure ?? "the datagram arrives");
        device.Counters.FramesReceived.Should().BePositive();

        // The guest echoes: addresses and ports change places, and the checksum of UDP may be none (RFC 768).
        byte[] answer = frame[NetHeader.Size..];
        Swap(answer, 0, 6, 6);
        Swap(answer, 26, 30, 4);
        Swap(answer, 34, 36, 2);
        answer[40] = answer[41] = 0;
        ulong header = arena.AllocateFilled(new byte[NetHeader.Size]);
        drivers[1].Add(Element.Out(header, NetHeader.Size), Element.Out(arena.AllocateFilled(answer), (uint)answer.Length));
        transport.Notify(1);
        var from = new IPEndPoint(IPAddress.Any, 0);
        socket.Receive(ref from).Should().Equal("ping over tap"u8.ToArray());
        from.Port.Should().Be(7);
        failure.Should().BeNull();
    });

    private static void Swap(byte[] bytes, int first, int second, int length)
    {
        byte[] kept = bytes[first..(first + length)];
        bytes.AsSpan(second, length).CopyTo(bytes.AsSpan(first));
        kept.CopyTo(bytes, second);
    }

    [SkippableFact]
    public void Interface_that_is_deleted_is_a_cable_pulled_out_once() => InNetwork(() =>
    {
        using var tap = Open();
        var listener = new Listener();
        tap.Connect(listener);
        NetworkNamespace.Ip($"link del {Name}");
        tap.Peek(0).IsEmpty.Should().BeTrue();
        Send(tap, ArpRequest()).Should().Be(SendOutcome.Dropped);
        listener.Links.Should().Equal(false);
    });

    [SkippableFact]
    public void Interface_that_is_deleted_while_the_card_sleeps_is_told_the_driver() => InNetwork(() =>
    {
        using var arena = new GuestArena(4 << 20);
        using var tap = Open();
        using var device = new NetDevice("net0", arena.Memory, tap, new NetOptions { Mac = s_own });
        string? failure = null;
        using var thread = new DeviceThread(device, m => failure = m, looks: LooksFor.Answers);
        device.Schedule(thread);
        var transport = GuestTransport.Make(false, device);
        FakeDriver[] drivers = [.. Enumerable.Range(0, 3).Select(_ => FakeDriver.Make(false, arena, 64))];
        transport.Start(device.OfferedFeatures & 0xff_ffff, drivers);
        // The kernel itself says something on a link that is new.
        for (int i = 0; i < 64; i++)
            drivers[0].Add(Element.In(arena.Allocate(2048), 2048));
        transport.Notify(0);
        tap.WatchBy(0, thread.WaitOf(0));
        bool IsUp()
        {
            byte[] status = new byte[2];
            transport.ReadConfig(6, status);
            return (status[0] & 1) != 0;
        }

        IsUp().Should().BeTrue();
        NetworkNamespace.Ip($"link del {Name}");
        SpinWait.SpinUntil(() => !IsUp(), s_limit).Should().BeTrue("nobody sent or asked for anything");
        failure.Should().BeNull();
    });

    [SkippableFact]
    public void Host_without_a_descriptor_left_is_explained() => InNetwork(() =>
    {
        Exception? TryOpen(string name) => Record.Exception(() => NetworkBackends.Open(new NetConfig { Kind = NetKind.Tap, Name = name }, _ => { }, null).Dispose());
        // Once before, as code that is used for the first time may have to be loaded from a file.
        TryOpen("lo").Should().BeOfType<VmmException>();
        Exception? thrown = null;
        NetworkNamespace.UseUpDescriptors(() => thrown = TryOpen(Name));
        thrown.Should().BeOfType<VmmException>().Which.Error.Should().Be(NetworkErrors.NoTap);
        thrown!.Message.Should().Contain("EMFILE");
    });

    [SkippableFact]
    public void Interface_that_is_off_loses_frames_and_works_when_it_is_on_again() => InNetwork(() =>
    {
        using var tap = Open();
        var listener = new Listener();
        tap.Connect(listener);
        NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
        NetworkNamespace.Ip($"link set {Name} down");
        Send(tap, ArpRequest()).Should().Be(SendOutcome.Dropped);
        NetworkNamespace.Ip($"link set {Name} up");
        Send(tap, ArpRequest()).Should().Be(SendOutcome.Sent);
        Awaits(tap, 0, f => IsArpReply(f)).Should().BeTrue();
        listener.Links.Should().BeEmpty();
    });

    [SkippableFact]
    public void Several_queues_are_attached_as_the_driver_uses_them() => InNetwork(() =>
    {
        using var tap = Open(queues: 4);
        tap.Connect(new Listener());
        tap.MaxPairs.Should().Be(4);
        NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
        foreach (int pairs in (int[])[4, 2, 1, 3])
            tap.Configure(tap.ReceiveOffloads, pairs);
        for (int pair = 0; pair < 3; pair++)
            Send(tap, ArpRequest(), pair).Should().Be(SendOutcome.Sent);
        NetworkNamespace.Ip($"-d link show {Name}").Should().Contain("multi_queue");
    });

    [SkippableFact]
    public void Descriptor_that_was_passed_in_is_used_and_one_of_something_else_is_refused() => InNetwork(() =>
    {
        using var opened = TapQueue.Open(Name, multiQueue: false);
        NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
        NetworkNamespace.Ip($"link set {Name} up");
        var passed = opened.Handle.Duplicate();
        int number = passed.Fd;
        passed.SetHandleAsInvalid();
        using (var tap = (TapBackend)Open(new NetConfig { Kind = NetKind.Descriptor, Descriptor = number }))
        {
            Send(tap, ArpRequest()).Should().Be(SendOutcome.Sent);
            Awaits(tap, 0, f => IsArpReply(f)).Should().BeTrue();
        }

        using var file = File.OpenHandle("/dev/null");
        foreach (int wrong in (int[])[(int)file.DangerousGetHandle(), 1 << 20])
        {
            FluentActions.Invoking(() => Open(new NetConfig { Kind = NetKind.Descriptor, Descriptor = wrong }))
                .Should().Throw<VmmException>().Which.Error.Should().Be(NetworkErrors.BadDescriptor);
        }

        GC.Collect();
        GC.WaitForPendingFinalizers();
        Descriptor.IsOpen((int)file.DangerousGetHandle()).Should().BeTrue("what is refused stays its owner's");
    });

    [SkippableFact]
    public void Interface_in_use_or_of_another_kind_is_explained() => InNetwork(() =>
    {
        using var tap = Open();
        FluentActions.Invoking(() => Open()).Should().Throw<VmmException>().Where(e => e.Error == NetworkErrors.NoTap && e.Message.Contains("EBUSY"));
        FluentActions.Invoking(() => Open(new NetConfig { Kind = NetKind.Tap, Name = "lo" }))
            .Should().Throw<VmmException>().Where(e => e.Error == NetworkErrors.NoTap && e.Message.Contains("tap='lo'"));
    });
}
