using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;
using Kvm.Interop.Slirp;
using Kvm.Tests.Support;
using Kvm.Vmm.Network;

namespace Kvm.Vmm.Tests.Network;

/// <summary>The user-mode network, with the test as its guest.</summary>
public sealed class SlirpBackendTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);
    private static readonly MacAddress s_own = new(0x5254_0012_3456);

    private readonly AutoResetEvent _frames = new(false);
    private readonly List<string> _failures = [];

    public void Dispose() => _frames.Dispose();

    private sealed class Listener(AutoResetEvent frames) : INetworkListener
    {
        public void FramesWaiting(int pair) => frames.Set();

        public void RoomAgain(int pair) => frames.Set();

        public void LinkChanged(bool up)
        {
        }
    }

    private SlirpBackend Open(params PublishedPort[] ports) => Open(new NetConfig { Kind = NetKind.User, Publish = ports });

    private SlirpBackend Open(NetConfig config)
    {
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        return new SlirpBackend(config, _failures.Add);
    }

    private static byte[] Ethernet(int type, int payload)
    {
        byte[] frame = new byte[14 + payload];
        MacAddress.Broadcast.Write(frame);
        s_own.Write(frame.AsSpan(6));
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), (ushort)type);
        return frame;
    }

    /// <summary>UDP over IPv4, without a checksum of UDP's (RFC 768).</summary>
    internal static byte[] Datagram(string from, string to, int fromPort, int toPort, ReadOnlySpan<byte> payload)
    {
        byte[] frame = Ethernet(0x0800, 28 + payload.Length);
        var ip = frame.AsSpan(14);
        (ip[0], ip[8], ip[9]) = (0x45, 64, 17);
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(28 + payload.Length));
        IPAddress.Parse(from).GetAddressBytes().CopyTo(ip[12..]);
        IPAddress.Parse(to).GetAddressBytes().CopyTo(ip[16..]);
        uint sum = 0;
        for (int i = 0; i < 20; i += 2)
            sum += BinaryPrimitives.ReadUInt16BigEndian(ip[i..]);
        sum = (sum & 0xffff) + (sum >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~((sum & 0xffff) + (sum >> 16)));
        BinaryPrimitives.WriteUInt16BigEndian(ip[20..], (ushort)fromPort);
        BinaryPrimitives.WriteUInt16BigEndian(ip[22..], (ushort)toPort);
        BinaryPrimitives.WriteUInt16BigEndian(ip[24..], (ushort)(8 + payload.Length));
        payload.CopyTo(ip[28..]);
        return frame;
    }

    /// <summary>The beginning of a TCP connection.</summary>
    private static byte[] Syn(string from, string to, int fromPort, int toPort)
    {
        byte[] frame = Datagram(from, to, fromPort, toPort, new byte[12]);
        var ip = frame.AsSpan(14);
        ip[9] = 6;
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], Sum(ip[..20], 0));
        var tcp = ip[20..];
        tcp[4..].Clear();
        (tcp[12], tcp[13], tcp[14]) = (0x50, 2, 0xff);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], Sum(ip[12..], 6 + 20));
        return frame;
    }

    private static ushort Sum(ReadOnlySpan<byte> bytes, uint sum)
    {
        for (int i = 0; i < bytes.Length; i += 2)
            sum += BinaryPrimitives.ReadUInt16BigEndian(bytes[i..]);
        sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)~((sum & 0xffff) + (sum >> 16));
    }

    /// <summary>DHCPDISCOVER (RFC 2131, RFC 2132: option 53 is 1).</summary>
    private static byte[] Discover()
    {
        byte[] message = new byte[300];
        (message[0], message[1], message[2]) = (1, 1, 6);
        s_own.Write(message.AsSpan(28));
        byte[] options = [0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255];
        options.CopyTo(message, 236);
        return Datagram("0.0.0.0", "255.255.255.255", 68, 67, message);
    }

    private static SendOutcome Send(SlirpBackend network, byte[] frame)
    {
        using var buffer = new AlignedBuffer(NetHeader.Size + frame.Length);
        frame.CopyTo(buffer.Buffer.Span[NetHeader.Size..]);
        int head = Math.Min(buffer.Length, NetHeader.Size + INetworkBackend.HeadBytes);
        return head == buffer.Length ? network.Send(0, [buffer.Buffer], buffer.Length) : network.Send(0, [buffer.Buffer.Slice(0, head), buffer.Buffer.Slice(head)], buffer.Length);
    }

    private byte[]? Await(SlirpBackend network, Predicate<byte[]> wanted, TimeSpan? limit = null)
    {
        var deadline = DateTime.UtcNow + (limit ?? s_limit);
        while (DateTime.UtcNow < deadline)
        {
            byte[] frame = network.Peek(0).ToArray();
            if (frame.Length == 0)
            {
                _frames.WaitOne(1000);
                continue;
            }

            network.Take(0);
            if (wanted(frame[NetHeader.Size..]))
                return frame[NetHeader.Size..];
        }

        return null;
    }

    private static long Counter(SlirpBackend network, string name) => network.Counters.Single(c => c.Name == name).Value;

    [SkippableFact]
    public void Guest_that_asks_is_offered_its_address_gateway_and_nameserver()
    {
        using var network = Open();
        network.Connect(new Listener(_frames));
        Send(network, Discover()).Should().Be(SendOutcome.Sent);
        byte[]? offer = Await(network, f => f.Length > 282 && f[12] == 8 && f[23] == 17 && f[36] == 0 && f[37] == 68);
        offer.Should().NotBeNull();
        offer!.AsSpan(14 + 28 + 16, 4).ToArray().Should().Equal(10, 0, 2, 15);
        // Options 3 and 6: router and nameserver.
        offer.AsSpan().IndexOf((ReadOnlySpan<byte>)[3, 4, 10, 0, 2, 2]).Should().BePositive();
        offer.AsSpan().IndexOf((ReadOnlySpan<byte>)[6, 4, 10, 0, 2, 3]).Should().BePositive();
        _failures.Should().BeEmpty();
    }

    [SkippableFact]
    public void Datagram_reaches_an_allowed_port_of_the_host_s_loopback_and_no_other()
    {
        using var allowed = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var other = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        int port = ((IPEndPoint)allowed.Client.LocalEndPoint!).Port, otherPort = ((IPEndPoint)other.Client.LocalEndPoint!).Port;
        using var network = Open(new NetConfig { Kind = NetKind.User, AllowHost = [new AllowedPort((ushort)port, true)] });
        network.Connect(new Listener(_frames));
        foreach (var (to, toPort) in ((string, int)[])[("10.0.2.2", otherPort), ("127.0.0.1", port), ("127.0.0.1", otherPort), ("255.255.255.255", otherPort), ("0.0.0.0", otherPort)])
            Send(network, Datagram("10.0.2.15", to, 4000, toPort, "no"u8)).Should().Be(SendOutcome.Dropped);
        Counter(network, "hostRefused").Should().Be(5);
        Send(network, Datagram("10.0.2.15", "10.0.2.2", 4000, port, "hello"u8)).Should().Be(SendOutcome.Sent);
        allowed.Client.ReceiveTimeout = (int)s_limit.TotalMilliseconds;
        var from = new IPEndPoint(IPAddress.Any, 0);
        allowed.Receive(ref from).Should().Equal("hello"u8.ToArray());
        other.Available.Should().Be(0);

        // The stack asks who 10.0.2.15 is before it sends the answer on.
        allowed.Send("and back"u8, from);
        Await(network, f => f[12] == 8 && f[13] == 6 && f[21] == 1).Should().NotBeNull();
        byte[] reply = Ethernet(0x0806, 28);
        byte[] body = [0, 1, 8, 0, 6, 4, 0, 2];
        body.CopyTo(reply, 14);
        s_own.Write(reply.AsSpan(22));
        IPAddress.Parse("10.0.2.15").GetAddressBytes().CopyTo(reply, 28);
        IPAddress.Parse("10.0.2.2").GetAddressBytes().CopyTo(reply, 38);
        Send(network, reply).Should().Be(SendOutcome.Sent);
        Await(network, f => f.AsSpan().IndexOf("and back"u8) > 0).Should().NotBeNull();
        _failures.Should().BeEmpty();
    }

    [SkippableFact]
    public void Port_that_somebody_has_is_explained_and_nothing_is_left_of_the_network()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        ushort port = (ushort)((IPEndPoint)taken.LocalEndpoint).Port;
        FluentActions.Invoking(() => Open(new PublishedPort(IPAddress.Loopback, port, 80, false)))
            .Should().Throw<VmmException>().Where(e => e.Error == NetworkErrors.NotPublished && e.Message.Contains($"{port}:80: EADDRINUSE"));
        FluentActions.Invoking(() => Open(new PublishedPort(IPAddress.Parse("192.0.2.1"), 8080, 80, true)))
            .Should().Throw<VmmException>().Where(e => e.Message.Contains("EADDRNOTAVAIL"));
    }

    [SkippableFact]
    public void Port_of_an_IPv6_address_is_listened_at_beside_that_of_IPv4_and_explained_where_somebody_has_it()
    {
        Skip.IfNot(Socket.OSSupportsIPv6, "this host has no IPv6");
        using var taken = new TcpListener(IPAddress.IPv6Any, 0);
        taken.Server.DualMode = false;
        taken.Start();
        ushort port = (ushort)((IPEndPoint)taken.LocalEndpoint).Port;
        FluentActions.Invoking(() => Open(new PublishedPort(IPAddress.IPv6Loopback, port, 80, false)))
            .Should().Throw<VmmException>().Where(e => e.Error == NetworkErrors.NotPublished && e.Message.Contains($"[::1]:{port}:80: EADDRINUSE"));
        taken.Stop();
        using (Open(new PublishedPort(IPAddress.IPv6Any, port, 80, false), new PublishedPort(IPAddress.Any, port, 80, false), new PublishedPort(IPAddress.IPv6Any, port, 80, true)))
        {
            using var client = new TcpClient(AddressFamily.InterNetworkV6);
            client.Connect(new IPEndPoint(IPAddress.IPv6Loopback, port));
            client.Connected.Should().BeTrue();
        }
    }

    [SkippableFact]
    public void Port_that_this_user_may_not_have_is_explained() => NetworkNamespace.Run(() =>
    {
        NetworkNamespace.Ip("link set lo up");
        // Of this network, which begins with the kernel's own number.
        Skip.If(int.Parse(File.ReadAllText("/proc/sys/net/ipv4/ip_unprivileged_port_start"), System.Globalization.CultureInfo.InvariantCulture) <= 80, "every user may listen at port 80 here");
        Exception? TryOpen(string address) => Record.Exception(() => Open(new PublishedPort(IPAddress.Parse(address), 80, 80, false)).Dispose());
        // Once before, as nobody may not read files from which code has to be loaded.
        TryOpen("192.0.2.1").Should().BeOfType<VmmException>();
        Exception? thrown = null;
        NetworkNamespace.RunAsNobody(() => thrown = TryOpen("127.0.0.1"));
        thrown.Should().BeOfType<VmmException>().Which.Error.Should().Be(NetworkErrors.NotPublished);
        thrown!.Message.Should().Contain("80:80: EACCES");
    });

    /// <summary>Nobody is at the other end of any: a network of the test's own, with a link on which all questions are lost.</summary>
    [SkippableFact]
    public void Half_open_connections_without_end_are_bounded_and_the_network_goes_on() => NetworkNamespace.Run(() =>
    {
        NetworkNamespace.Ip("link set lo up");
        NetworkNamespace.SkipWithoutTap();
        using var blackhole = TapQueue.Open("blackhole", multiQueue: false);
        NetworkNamespace.Ip("addr add 192.0.2.2/24 dev blackhole");
        NetworkNamespace.Ip("link set blackhole up");
        using var network = Open();
        network.Connect(new Listener(_frames));
        long most = 0;
        for (int i = 0; i < 65_000; i++)
        {
            byte[] syn = Syn("10.0.2.15", $"192.0.2.{10 + i % 200}", 1024 + i % 60_000, 80 + i / 60_000);
            while (Send(network, syn) == SendOutcome.Full)
                _frames.WaitOne(100);
            while (!network.Peek(0).IsEmpty)
                network.Take(0);
            most = Math.Max(most, Counter(network, "sockets"));
        }

        // One that comes at the moment when the stack counts may be one too many.
        most.Should().BeInRange(1, 4096 + 64);
        byte[] question = Ethernet(0x0806, 28);
        byte[] body = [0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2];
        body.CopyTo(question, 14);
        Send(network, question).Should().Be(SendOutcome.Sent);
        Await(network, f => f[12] == 8 && f[13] == 6 && f[21] == 2).Should().NotBeNull("the network goes on");
        _failures.Should().BeEmpty();
    });

    [SkippableFact]
    public void Frames_that_cannot_be_harm_nobody()
    {
        using var network = Open();
        network.Connect(new Listener(_frames));
        var random = new Random(5);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] frame = Ethernet(i % 3 == 0 ? 0x0806 : i % 3 == 1 ? 0x0800 : 0x86dd, random.Next(0, 200));
            random.NextBytes(frame.AsSpan(14));
            if (frame.Length > 48 && i % 3 == 1)
            {
                // TCP with options of every kind, to an address nobody has; the header's checksum is right, so that somebody looks.
                byte[] body = frame[34..];
                frame = Datagram("10.0.2.15", "192.0.2.9", 1, 2, body);
                frame[23] = (byte)(i % 2 == 0 ? 1 : 2);
            }

            while (Send(network, frame) == SendOutcome.Full)
                _frames.WaitOne(1000);
            while (!network.Peek(0).IsEmpty)
                network.Take(0);
        }

        Send(network, Discover());
        Await(network, f => f.Length > 282 && f[23] == 17 && f[37] == 68).Should().NotBeNull("the network goes on");
        _failures.Should().BeEmpty();
    }

    [SkippableFact]
    public void Guest_that_takes_no_frames_loses_them_and_nothing_grows()
    {
        using var network = Open();
        network.Connect(new Listener(_frames));
        byte[] echo = Datagram("10.0.2.15", "10.0.2.2", 0, 0, new byte[1400]);
        echo[23] = 1;
        (echo[34], echo[35]) = (8, 0);
        // Checksums: of the header for another protocol, and of the echo, whose other bytes are zeros (RFC 792).
        ushort sum = (ushort)(BinaryPrimitives.ReadUInt16BigEndian(echo.AsSpan(24)) + 16);
        BinaryPrimitives.WriteUInt16BigEndian(echo.AsSpan(24), sum);
        echo.AsSpan(34 + 4, 4).Clear();
        BinaryPrimitives.WriteUInt16BigEndian(echo.AsSpan(36), 0xf7ff);
        var deadline = DateTime.UtcNow + 2 * s_limit;
        while (Counter(network, "lost") == 0 && DateTime.UtcNow < deadline)
        {
            if (Send(network, echo) == SendOutcome.Full)
                _frames.WaitOne(100);
        }

        Counter(network, "lost").Should().BePositive();
        while (!network.Peek(0).IsEmpty)
            network.Take(0);
        // The stack may still be at the echoes: their answers fill the ring again, and what is sent meanwhile finds no room, or its answer none.
        byte[]? offer = null;
        while (offer is null && DateTime.UtcNow < deadline)
        {
            Send(network, Discover());
            offer = Await(network, f => f.Length > 282 && f[23] == 17 && f[37] == 68, TimeSpan.FromSeconds(1));
        }

        offer.Should().NotBeNull();
    }

    [SkippableFact]
    public void Ten_thousand_frames_allocate_nothing_on_the_way_in()
    {
        using var network = Open();
        using var buffer = new AlignedBuffer(NetHeader.Size + 60);
        Ethernet(0x0800, 46).CopyTo(buffer.Buffer.Span[NetHeader.Size..]);
        buffer.Buffer.Span[NetHeader.Size + 14] = 0x45;
        var whole = new[] { buffer.Buffer };
        network.Connect(new Listener(_frames));
        Allocation.Of(_ => network.Send(0, whole, buffer.Length)).Should().Be(0);
    }
}
