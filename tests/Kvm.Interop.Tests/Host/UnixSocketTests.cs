namespace Kvm.Interop.Tests.Host;

public sealed class UnixSocketTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvm-socket-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string At(string name) => Path.Combine(_folder, name);

    [Fact]
    public void Bytes_alone_arrive_without_what_came_with_them()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();
        byte[] buffer = new byte[16];
        client.ReceiveBytes(buffer).Should().Be(-Errno.EAGAIN);
        using HostMapping memory = HostMapping.Shared(4096, "given");
        server.Send("abc"u8, memory.File).Should().Be(3);

        client.ReceiveBytes(buffer).Should().Be(3);

        buffer[..3].Should().Equal("abc"u8.ToArray());
        server.EndWrites();
        client.ReceiveBytes(buffer).Should().Be(0);
        Close(listener, client, server);
    }

    [Fact]
    public void Bytes_and_a_descriptor_arrive_together()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();
        using HostMapping memory = HostMapping.Shared(4096, "given");
        memory.Span[17] = 42;
        server.Send("abc"u8, memory.File).Should().Be(3);
        byte[] buffer = new byte[16];

        client.Receive(buffer, out FdHandle? descriptor).Should().Be(3);

        buffer[..3].Should().Equal("abc"u8.ToArray());
        using HostMapping same = HostMapping.Open(descriptor!, 4096);
        same.Span[17].Should().Be(42);
        Close(listener, client, server);
    }

    [Fact]
    public void Bytes_alone_bring_no_descriptor()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();
        client.Send("x"u8).Should().Be(1);

        server.Receive(new byte[4], out FdHandle? descriptor).Should().Be(1);

        descriptor.Should().BeNull();
        server.Receive(new byte[4], out _, wait: false).Should().Be(-Errno.EAGAIN);
        Close(listener, client, server);
    }

    [Fact]
    public void The_peer_is_known_by_the_kernel()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();

        server.GetPeer(out PeerIdentity peer).Should().Be(0);
        server.HasTrustedPeer(out PeerIdentity trusted).Should().BeTrue("it is this process");
        trusted.Should().Be(peer);

        peer.ProcessId.Should().Be(Environment.ProcessId);
        Close(listener, client, server);
    }

    [Fact]
    public void A_peer_that_left_is_the_end_of_the_stream_and_no_signal()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();
        client.Dispose();

        server.Receive(new byte[4], out _).Should().Be(0);
        server.Send("x"u8).Should().Be(-Errno.EPIPE);
        Close(listener, server);
    }

    [Fact]
    public void A_socket_that_is_shut_down_ends_a_wait_at_both_ends()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();
        int here = -1, there = -1;
        Thread waiter = new(() => here = client.Receive(new byte[4], out _));
        waiter.Start();

        client.Shutdown();
        waiter.Join();
        there = server.Receive(new byte[4], out _);

        here.Should().Be(0);
        there.Should().Be(0);
        Close(listener, client, server);
    }

    [Fact]
    public void Nobody_behind_a_socket_is_told_from_no_socket()
    {
        using (UnixSocket.Listen(At("dead"), 4))
        {
        }

        UnixSocket.TryConnect(At("dead"), out _).Should().Be(-Errno.ECONNREFUSED);
        UnixSocket.TryConnect(At("nothing"), out _).Should().Be(-Errno.ENOENT);
        UnixSocket.TryConnect(At(new string('x', 200)), out _).Should().Be(-Errno.ENAMETOOLONG);
    }

    [Fact]
    public void A_path_that_is_taken_is_refused()
    {
        using UnixSocket first = UnixSocket.Listen(At("one"), 4);

        Action second = () => UnixSocket.Listen(At("one"), 4);

        second.Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EADDRINUSE);
    }

    [Fact]
    public void A_detached_process_gets_its_descriptor_and_a_session_of_its_own()
    {
        (UnixSocket listener, UnixSocket client, UnixSocket server) = Connect();

        int pid = DetachedProcess.Start("/bin/sh", ["-c", "echo $(ps -o sid= -p $$) $$ >&3; echo said"], At("log"), server.Handle);
        server.Dispose();

        byte[] buffer = new byte[64];
        int length = client.Receive(buffer, out _);
        string[] words = System.Text.Encoding.ASCII.GetString(buffer, 0, length).Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        words.Should().Equal($"{pid}", $"{pid}");
        client.Receive(buffer, out _).Should().Be(0);
        SpinWait.SpinUntil(() => File.ReadAllText(At("log")).Contains("said", StringComparison.Ordinal), TimeSpan.FromSeconds(20)).Should().BeTrue();
        Close(listener, client);
    }

    private (UnixSocket Listener, UnixSocket Client, UnixSocket Server) Connect()
    {
        UnixSocket listener = UnixSocket.Listen(At("socket"), 4);
        UnixSocket.TryConnect(At("socket"), out UnixSocket? client).Should().Be(0);
        listener.TryAccept(out UnixSocket? server).Should().BeTrue();
        listener.TryAccept(out UnixSocket? another).Should().BeTrue();
        another.Should().BeNull();
        // Tests wait for what they sent.
        Libc.fcntl(server!.Handle.Fd, Libc.F_SETFL, 0).Should().Be(0);
        return (listener, client!, server);
    }

    private static void Close(params UnixSocket[] sockets)
    {
        foreach (UnixSocket socket in sockets)
        {
            socket.Dispose();
        }
    }
}
