using System.Net.Sockets;
using System.Text;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Vmm.Tests.Virtio.Sockets;

/// <summary>Real sockets on one side, a driver's rings on the other; what one side does the other sees in some bounded time.</summary>
public sealed class VsockServerTests : IDisposable
{
    private const uint Cid = 5;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-vsock").FullName;
    private readonly List<string> _failures = [];
    private readonly VsockServer _server;
    private readonly DeviceGuest<VsockDevice> _guest;
    private readonly Dictionary<ulong, ulong> _offered = [];

    public VsockServerTests()
    {
        _server = new VsockServer(new VsockConfig { Cid = Cid, SocketPath = SocketPath }, _failures.Add);
        _guest = new DeviceGuest<VsockDevice>(arena => new VsockDevice("vsock0", arena.Memory, Cid, _server), size: 32);
        for (int i = 0; i < 16; i++)
            Offer(_guest.Arena.Allocate(4096));
        _server.Start(_guest.Device);
    }

    public void Dispose()
    {
        _server.Dispose();
        _guest.Device.Dispose();
        _guest.Dispose();
        File.Exists(SocketPath).Should().BeFalse("the socket is removed");
        Directory.Delete(_folder, recursive: true);
        _failures.Should().BeEmpty();
    }

    private string SocketPath => Path.Combine(_folder, "v");

    private void Offer(ulong buffer)
    {
        _offered[_guest.Drivers[0].Add(Element.In(buffer, 4096))] = buffer;
        _guest.Transport.Notify(0);
    }

    /// <summary>Waits for the next packet for the guest.</summary>
    private (VsockPacket Packet, byte[] Data) Hear()
    {
        UsedBuffer? used = null;
        SpinWait.SpinUntil(() => (used = _guest.Drivers[0].TakeUsed()) is not null, s_limit).Should().BeTrue();
        _offered.Remove(used!.Value.Id, out ulong buffer);
        var bytes = _guest.Arena.Bytes(buffer, (int)used.Value.Written);
        (VsockPacket, byte[]) heard = (VsockPacket.Read(bytes), bytes[VsockPacket.Size..].ToArray());
        Offer(buffer);
        return heard;
    }

    private void Say(VsockOperation operation, uint hostPort, uint guestPort, byte[]? data = null)
    {
        data ??= [];
        byte[] bytes = new byte[VsockPacket.Size + data.Length];
        new VsockPacket
        {
            SourceCid = Cid,
            TargetCid = 2,
            SourcePort = guestPort,
            TargetPort = hostPort,
            Type = 1,
            Operation = operation,
            BufferSize = 1 << 20,
            Length = (uint)data.Length,
        }.Write(bytes);
        data.CopyTo(bytes, VsockPacket.Size);
        _guest.Run(1, _guest.Out(bytes));
    }

    private static Socket New() => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000, SendTimeout = 30_000 };

    private Socket Client(string says)
    {
        var client = New();
        client.Connect(new UnixDomainSocketEndPoint(SocketPath));
        if (says.Length > 0)
            client.Send(Encoding.ASCII.GetBytes(says));
        return client;
    }

    private static string Read(Socket client)
    {
        byte[] bytes = new byte[256];
        return Encoding.ASCII.GetString(bytes, 0, client.Receive(bytes));
    }

    [Fact]
    public void Client_that_names_a_port_is_connected_with_the_guest_and_told_its_own()
    {
        using var client = Client("CONNECT 80\nat once");
        var asked = Hear().Packet;
        (asked.Operation, asked.TargetPort).Should().Be((VsockOperation.Request, 80u));
        Say(VsockOperation.Response, asked.SourcePort, 80);
        Read(client).Should().Be($"OK {asked.SourcePort}\n");
        Encoding.ASCII.GetString(Hear().Data).Should().Be("at once", "what stands behind the line is the guest's");

        Say(VsockOperation.Data, asked.SourcePort, 80, [.. "answer"u8]);
        Read(client).Should().Be("answer");
        client.Dispose();
        Hear().Packet.Operation.Should().Be(VsockOperation.Reset);
    }

    [Fact]
    public void Line_may_come_in_pieces()
    {
        using var client = Client("conn");
        client.Send("ect 8"u8);
        client.Send("1\n"u8);
        Hear().Packet.TargetPort.Should().Be(81);
    }

    [Theory]
    [InlineData("GET / HTTP/1.0\n")]
    [InlineData("CONNECT\n")]
    [InlineData("CONNECT \n")]
    [InlineData("CONNECT -1\n")]
    [InlineData("CONNECT 4294967296\n")]
    [InlineData("CONNECT 80 \n")]
    [InlineData("CONNECT 80\r\n")]
    [InlineData("CONNECT 000000000000000000000000000000000080\n")]
    public void Client_that_says_something_else_is_sent_away(string says)
    {
        using var client = Client(says);
        var read = () => client.Receive(new byte[16]);
        try
        {
            read().Should().Be(0);
        }
        catch (SocketException e)
        {
            // It is closed before all that was said has been read.
            e.SocketErrorCode.Should().Be(SocketError.ConnectionReset);
        }
    }

    [Fact]
    public void Guest_that_refuses_and_one_that_does_not_answer_are_the_end_for_the_client()
    {
        using var first = Client("CONNECT 80\n");
        Say(VsockOperation.Reset, Hear().Packet.SourcePort, 80);
        Read(first).Should().BeEmpty();
        using var second = Client("CONNECT 81\n");
        uint port = Hear().Packet.SourcePort;
        Read(second).Should().BeEmpty("it waits for two seconds and no longer");
        var told = Hear().Packet;
        (told.Operation, told.SourcePort, told.TargetPort).Should().Be((VsockOperation.Reset, port, 81u));
    }

    [Fact]
    public void Guest_reaches_who_listens_at_the_path_with_the_port_behind_it()
    {
        using var listener = New();
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath + "_52"));
        listener.Listen();
        Say(VsockOperation.Request, 52, 1000);
        Hear().Packet.Operation.Should().Be(VsockOperation.Response);
        using var host = listener.Accept();
        Say(VsockOperation.Data, 52, 1000, [1, 2, 3]);
        byte[] bytes = new byte[3];
        host.Receive(bytes).Should().Be(3);
        bytes.Should().Equal(1, 2, 3);
        host.Shutdown(SocketShutdown.Send);
        var told = Hear().Packet;
        (told.Operation, told.Ends).Should().Be((VsockOperation.Shutdown, VsockEnds.Sends));

        Say(VsockOperation.Request, 53, 1000);
        Hear().Packet.Operation.Should().Be(VsockOperation.Reset, "nobody listens there");
    }

    [Fact]
    public void Listener_that_takes_nobody_does_not_hold_the_guest_up()
    {
        using var listener = New();
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath + "_52"));
        listener.Listen(1);
        var answers = new List<VsockOperation>();
        for (uint port = 0; port < 12; port++)
        {
            Say(VsockOperation.Request, 52, port);
            answers.Add(Hear().Packet.Operation);
        }

        answers.Should().Contain(VsockOperation.Response).And.Contain(VsockOperation.Reset);
    }

    [Fact]
    public void Clients_that_say_nothing_are_bounded()
    {
        var silent = Enumerable.Range(0, 70).Select(_ => Client("")).ToList();
        using var client = Client("CONNECT 80\n");
        Hear().Packet.Operation.Should().Be(VsockOperation.Request);
        Read(silent[0]).Should().BeEmpty("the oldest had to go");
        silent.ForEach(s => s.Dispose());
    }

    [Fact]
    public void Something_else_at_the_path_is_left_alone()
    {
        string path = Path.Combine(_folder, "file");
        File.WriteAllText(path, "mine");
        var make = () => new VsockServer(new VsockConfig { Cid = Cid, SocketPath = path }, _failures.Add);
        make.Should().Throw<VmmException>().Which.Error.Should().Be(VsockErrors.InUse);
        File.ReadAllText(path).Should().Be("mine");
        var nowhere = () => new VsockServer(new VsockConfig { Cid = Cid, SocketPath = Path.Combine(_folder, "none", "v") }, _failures.Add);
        nowhere.Should().Throw<VmmException>().Which.Error.Should().Be(VsockErrors.NoSocket);
    }

    [Theory]
    [InlineData("3", 3, null)]
    [InlineData("4294967294,path=/tmp/a,,b", 4294967294, "/tmp/a,b")]
    public void Configuration_is_understood(string text, uint cid, string? path)
    {
        VsockConfig.Parse(text, out var vsock).Should().BeNull();
        vsock.Cid.Should().Be(cid);
        vsock.SocketPath.Should().EndWith(path ?? "/vsock-3");
    }

    [Theory]
    [InlineData("", "no context")]
    [InlineData("x", "no context")]
    [InlineData("-3", "no context")]
    [InlineData("2", "from 3")]
    [InlineData("4294967295", "from 3")]
    [InlineData("3,path=", "names no socket")]
    [InlineData("3,uds=/a", "not path=PATH")]
    public void What_is_wrong_with_a_configuration_is_said(string text, string part) =>
        VsockConfig.Parse(text, out _).Should().Contain(part);

    [Fact]
    public void Path_leaves_room_for_a_port()
    {
        VsockConfig.Parse("3,path=/" + new string('a', 95), out _).Should().BeNull();
        VsockConfig.Parse("3,path=/" + new string('a', 96), out _).Should().Contain("96 at most");
    }
}
