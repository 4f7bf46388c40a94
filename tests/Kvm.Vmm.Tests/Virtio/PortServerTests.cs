using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Console;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Tests.Virtio;

/// <summary>Real sockets on one side, a driver's rings on the other; what one side does the other sees in some bounded time.</summary>
public sealed class PortServerTests : IDisposable
{
    private const int ControlIn = 2, ControlOut = 3, In = 0, Out = 1;
    private const ushort Open = 6;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-ports").FullName;
    private readonly List<string> _failures = [];
    private readonly PortServer _server;
    private readonly DeviceGuest<ConsoleDevice> _guest;

    public PortServerTests()
    {
        _server = new PortServer([new PortConfig { Name = "first", SocketPath = PathOf(0) }, new PortConfig { Name = "second", SocketPath = PathOf(1) }], _failures.Add);
        _guest = new DeviceGuest<ConsoleDevice>(
            arena => new ConsoleDevice("console0", arena.Memory, [.. _server.Ports.Select(p => new ConsolePort(p.Name, false, p))]), size: 16);
        _server.Start(_guest.Device);
    }

    public void Dispose()
    {
        _server.Dispose();
        _guest.Dispose();
        Directory.GetFiles(_folder).Should().BeEmpty("sockets are removed");
        Directory.Delete(_folder, recursive: true);
        _failures.Should().BeEmpty();
    }

    private string PathOf(int port) => Path.Combine(_folder, $"s{port}");

    private Socket Client(int port = 0)
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000, SendTimeout = 30_000 };
        client.Connect(new UnixDomainSocketEndPoint(PathOf(port)));
        return client;
    }

    private void Tell(uint port, bool open)
    {
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, port);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), Open);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), open ? (ushort)1 : (ushort)0);
        _guest.Run(ControlOut, _guest.Out(message)).Should().NotBeNull();
    }

    private static void Until(Func<bool> done) => SpinWait.SpinUntil(done, s_limit).Should().BeTrue();

    /// <summary>What the guest reads from its port, in buffers of 512 bytes, until it has so many.</summary>
    private string Read(int bytes)
    {
        var text = new StringBuilder();
        ulong buffer = _guest.Arena.Allocate(512);
        while (text.Length < bytes)
        {
            _guest.Drivers[In].Add(Element.In(buffer, 512));
            _guest.Transport.Notify(In);
            UsedBuffer? used = null;
            Until(() => (used = _guest.Drivers[In].TakeUsed()) is not null);
            text.Append(Encoding.Latin1.GetString(_guest.Arena.Bytes(buffer, (int)used!.Value.Written)));
        }

        return text.ToString();
    }

    /// <summary>The next time the guest is told whether the host's end is open.</summary>
    private bool NextOpen()
    {
        ulong buffer = _guest.Arena.Allocate(72);
        _guest.Drivers[ControlIn].Add(Element.In(buffer, 72));
        _guest.Transport.Notify(ControlIn);
        Until(() => _guest.Drivers[ControlIn].TakeUsed() is not null);
        var message = _guest.Arena.Bytes(buffer, 8);
        BinaryPrimitives.ReadUInt16LittleEndian(message[4..]).Should().Be(Open);
        return message[6] != 0;
    }

    [Fact]
    public void Guest_is_told_of_clients_that_come_and_go_and_bytes_go_both_ways()
    {
        Tell(0, open: true);
        for (int round = 0; round < 3; round++)
        {
            using (var client = Client())
            {
                NextOpen().Should().BeTrue();
                client.Send("hello"u8);
                Read(5).Should().Be("hello");
                _guest.Run(Out, _guest.Out("good"u8), _guest.Out("bye"u8)).Should().NotBeNull();
                byte[] got = new byte[7];
                client.Receive(got).Should().BePositive();
            }

            NextOpen().Should().BeFalse();
        }

        _server.Ports[0].Counters.Should().Be((3, 0, 0));
    }

    [Fact]
    public void Second_client_is_sent_away_and_the_first_does_not_notice()
    {
        Tell(0, open: true);
        using var first = Client();
        NextOpen().Should().BeTrue();
        using (var second = Client())
            second.Receive(new byte[1]).Should().Be(0);
        using var other = Client(1);
        first.Send("still"u8);
        Read(5).Should().Be("still");
        Until(() => _server.Ports[0].Counters.Refused == 1 && _server.Ports[1].Counters.Clients == 1);
    }

    [Fact]
    public void Client_s_bytes_wait_until_the_guest_opens_the_port()
    {
        using var client = Client();
        NextOpen().Should().BeTrue();
        client.Send("early"u8);
        _guest.Device.WatchInput(0).Should().BeFalse("they are still the socket's");
        Tell(0, open: true);
        Read(5).Should().Be("early");
    }

    [Fact]
    public void Guest_that_does_not_read_holds_the_client_up_and_gets_every_byte_afterwards_even_of_one_that_hung_up()
    {
        Tell(0, open: true);
        byte[] all = new byte[300_000];
        for (int i = 0; i < all.Length; i++)
            all[i] = (byte)(i * 7 + (i >> 8));
        int sent = 0;
        using (var client = Client())
        {
            NextOpen().Should().BeTrue();
            // What the device, the server's buffer and the socket hold, and no more.
            client.Blocking = false;
            var limit = System.Diagnostics.Stopwatch.StartNew();
            while (sent < all.Length && client.Poll(100_000, SelectMode.SelectWrite) && limit.Elapsed < s_limit)
                sent += client.Send(all.AsSpan(sent, Math.Min(4096, all.Length - sent)));
            sent.Should().BeGreaterThan(ConsoleDevice.InputCapacity);
        }

        Encoding.Latin1.GetBytes(Read(sent)).AsSpan().SequenceEqual(all.AsSpan(0, sent)).Should().BeTrue();
        NextOpen().Should().BeFalse("after the last byte");
    }

    [Fact]
    public void Client_that_does_not_read_holds_the_guest_up_and_gets_every_byte_afterwards()
    {
        Tell(0, open: true);
        using var client = Client();
        NextOpen().Should().BeTrue();
        byte[] block = new byte[4096];
        int offered = 0;
        while (_guest.Run(Out, _guest.Out(block)) is not null)
            offered++;
        offered.Should().BePositive();
        long total = (offered + 1) * 4096L, got = 0;
        while (got < total)
            got += client.Receive(block);
        Until(() => _guest.Drivers[Out].TakeUsed() is not null);
        _guest.Device.Traffic(0).Sent.Should().Be(total);
    }

    [Fact]
    public void Guest_that_is_held_up_goes_on_when_its_client_hangs_up()
    {
        Tell(0, open: true);
        using (Client())
        {
            NextOpen().Should().BeTrue();
            while (_guest.Run(Out, _guest.Out(new byte[4096])) is not null)
            {
            }
        }

        Until(() => _guest.Drivers[Out].TakeUsed() is not null);
        NextOpen().Should().BeFalse();
        _server.Ports[0].Counters.Dropped.Should().BePositive();
    }

    [Fact]
    public void What_a_guest_says_to_nobody_is_dropped_and_counted()
    {
        _guest.Run(Out, _guest.Out("anybody?"u8)).Should().NotBeNull();
        _server.Ports[0].Counters.Should().Be((0, 0, 8));
    }

    [Fact]
    public void Guest_that_resets_and_opens_and_closes_without_end_does_not_stop_the_others()
    {
        using var other = Client(1);
        for (int i = 0; i < 200; i++)
        {
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            Tell(0, open: (i & 1) == 0);
            // A port whose guest does not read has as many clients waiting as a socket has room for.
            _ = Record.Exception(() =>
            {
                client.Connect(new UnixDomainSocketEndPoint(PathOf(0)));
                client.Send("x"u8);
            });
            _guest.Run(Out, _guest.Out("y"u8));
        }

        Tell(1, open: true);
        other.Send("alive"u8);
        ulong buffer = _guest.Arena.Allocate(16);
        _guest.Drivers[4].Add(Element.In(buffer, 16));
        _guest.Transport.Notify(4);
        Until(() => _guest.Drivers[4].TakeUsed() is not null);
        Encoding.ASCII.GetString(_guest.Arena.Bytes(buffer, 5)).Should().Be("alive");
        _guest.Transport.Status = 0;
    }

    [Fact]
    public void Bytes_to_the_client_allocate_nothing()
    {
        Tell(0, open: true);
        using var client = Client();
        NextOpen().Should().BeTrue();
        byte[] block = new byte[64];
        Allocation.Of(
            _ =>
            {
                ((IConsoleSink)_server.Ports[0]).Write(block);
                client.Receive(block);
            },
            times: 1000).Should().Be(0);
    }

    [Fact]
    public void Path_that_is_taken_is_an_error_that_names_it()
    {
        var make = () => new PortServer([new PortConfig { Name = "third", SocketPath = Path.Combine(_folder, "s2") }, new PortConfig { Name = "fourth", SocketPath = PathOf(1) }], _ => { });
        make.Should().Throw<VmmException>().Where(e => e.Error == PortErrors.InUse && e.Message.Contains("'fourth'") && e.Message.Contains("s1"));
        File.Exists(Path.Combine(_folder, "s2")).Should().BeFalse("what was made is taken back");
        File.Exists(PathOf(1)).Should().BeTrue();
        make = () => new PortServer([new PortConfig { Name = "a", SocketPath = Path.Combine(_folder, "none", "s") }], _ => { });
        make.Should().Throw<VmmException>().Which.Error.Should().Be(PortErrors.NoSocket);
    }
}
