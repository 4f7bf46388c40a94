using System.Net.Sockets;

namespace Kvm.Interop.Tests.Host;

public sealed class UnixListenerTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-socket").FullName;

    private string SocketPath => Path.Combine(_folder, "s");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static Socket Connect(string path)
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(path));
        return client;
    }

    private static UnixSocket Accept(UnixListener listener)
    {
        listener.TryAccept(out var client).Should().BeTrue();
        return client!;
    }

    [Fact]
    public void Bytes_go_both_ways_and_the_socket_is_the_owner_s_alone()
    {
        using var listener = UnixListener.Open(SocketPath, 4);
        File.GetUnixFileMode(SocketPath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        listener.TryAccept(out var nobody).Should().BeTrue();
        nobody.Should().BeNull();
        using var client = Connect(SocketPath);
        using var stream = Accept(listener);
        byte[] got = new byte[8];
        stream.Receive(got, out _).Should().Be(-Errno.EAGAIN);
        client.Send([1, 2, 3]).Should().Be(3);
        stream.Receive(got, out _).Should().Be(3);
        stream.Send([4, 5]).Should().Be(2);
        client.Receive(got).Should().Be(2);
        got[..3].Should().Equal(4, 5, 3);
    }

    [Fact]
    public void End_of_the_other_side_is_seen_and_harms_nothing()
    {
        using var listener = UnixListener.Open(SocketPath, 4);
        var client = Connect(SocketPath);
        using var stream = Accept(listener);
        client.Dispose();
        stream.Receive(new byte[1], out _).Should().Be(0);
        stream.Send([1]).Should().Be(-Errno.EPIPE);
    }

    [Fact]
    public void Full_socket_takes_no_more_until_it_is_read()
    {
        using var listener = UnixListener.Open(SocketPath, 4);
        using var client = Connect(SocketPath);
        using var stream = Accept(listener);
        byte[] block = new byte[4096];
        int sent = 0, count;
        while ((count = stream.Send(block, wait: false)) > 0)
            sent += count;
        count.Should().Be(-Errno.EAGAIN);
        sent.Should().BeInRange(4096, 64 << 20);
    }

    [Fact]
    public void Path_is_removed_at_the_end_but_not_another_s()
    {
        UnixListener.Open(SocketPath, 1).Dispose();
        File.Exists(SocketPath).Should().BeFalse();
        using var first = UnixListener.Open(SocketPath, 1);
        File.Delete(SocketPath);
        using (UnixListener.Open(SocketPath, 1))
        {
            first.Dispose();
            File.Exists(SocketPath).Should().BeTrue("it is the second's");
        }

        File.Exists(SocketPath).Should().BeFalse();
    }

    [Fact]
    public void Socket_that_a_killed_process_left_behind_is_replaced()
    {
        // .NET's own leaves the path where it is, as a process that is killed does.
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(SocketPath));
            dead.Listen();
            File.Move(SocketPath, SocketPath + "2");
        }

        File.Move(SocketPath + "2", SocketPath);
        using var listener = UnixListener.Open(SocketPath, 1);
        Connect(SocketPath).Dispose();
    }

    [Theory]
    [InlineData("file")]
    [InlineData("folder")]
    [InlineData("link")]
    [InlineData("live")]
    public void What_is_there_and_is_no_dead_socket_is_left_alone(string kind)
    {
        using var live = kind == "live" ? UnixListener.Open(SocketPath, 1) : null;
        if (kind == "file")
            File.WriteAllText(SocketPath, "precious");
        else if (kind == "folder")
            Directory.CreateDirectory(SocketPath);
        else if (kind == "link")
            File.CreateSymbolicLink(SocketPath, Path.Combine(_folder, "nowhere"));
        var open = () => UnixListener.Open(SocketPath, 1);
        open.Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EADDRINUSE);
        Path.Exists(SocketPath).Should().BeTrue();
        File.Exists(Path.Combine(_folder, "nowhere")).Should().BeFalse("a link is not followed");
        if (kind == "file")
            File.ReadAllText(SocketPath).Should().Be("precious");
    }

    [Fact]
    public void Path_that_no_socket_can_have_is_refused()
    {
        var open = (string path) => () => UnixListener.Open(path, 1);
        open("/" + new string('a', UnixListener.MaxPathBytes)).Should().Throw<ArgumentException>();
        open("").Should().Throw<ArgumentException>();
        open(Path.Combine(_folder, "none", "s")).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);
    }

    [Fact]
    public void Moving_bytes_allocates_nothing()
    {
        using var listener = UnixListener.Open(SocketPath, 4);
        using var client = Connect(SocketPath);
        using var stream = Accept(listener);
        byte[] block = new byte[64];
        Allocation.Of(
            _ =>
            {
                stream.Send(block);
                client.Receive(block);
                client.Send(block);
                stream.Receive(block, out FdHandle? none);
            },
            times: 1000).Should().Be(0);
    }
}
