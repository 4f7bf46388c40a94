using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Control;

namespace Kvm.Boot.Tests.Control;

/// <summary>A running machine's control socket, with clients of all kinds.</summary>
public sealed class ControlServerTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvmsharp-control-");

    /// <summary>For ever: a write to a port, and again.</summary>
    private static readonly byte[] Busy = TinyKernel.Assemble(a =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.@out(0x80, Iced.Intel.AssemblerRegisters.al);
        a.jmp(again);
    });

    private string SocketPath => Path.Combine(_folder.FullName, "vms", "tiny.sock");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void Statistics_come_as_often_as_asked_for_and_tell_exits_and_places() => WithServer(() =>
    {
        using var client = ControlClient.Connect(_folder.FullName, "tiny");
        client.AskStatistics(TimeSpan.FromMilliseconds(50), 0);
        JsonElement last = default;
        long exits = -1;
        for (var until = DateTime.UtcNow + Limit; DateTime.UtcNow < until;)
        {
            client.TryRead(out var answer).Should().BeTrue();
            last = JsonDocument.Parse(answer).RootElement;
            last.GetProperty("exits").GetProperty("io").GetInt64().Should().BeGreaterThanOrEqualTo(exits);
            exits = last.GetProperty("exits").GetProperty("io").GetInt64();
            if (last.GetProperty("hotRips").GetArrayLength() > 0)
                break;
        }

        last.GetProperty("version").GetInt32().Should().Be(1);
        last.GetProperty("name").GetString().Should().Be("tiny");
        last.GetProperty("vcpus")[0].GetProperty("reasons").GetProperty("io").GetInt64().Should().Be(exits);
        last.GetProperty("exitDetails").GetProperty("accesses")[0].GetProperty("name").GetString().Should().Be("POST_CODE");
        Convert.ToUInt64(last.GetProperty("hotRips")[0].GetProperty("rip").GetString()![2..], 16).Should().BeInRange(0x10_0000, 0x20_0000, "the kernel is there");
    });

    [Fact]
    public void After_so_many_answers_the_guest_hangs_up() => WithServer(() =>
    {
        using var client = ControlClient.Connect(_folder.FullName, "tiny");
        client.AskStatistics(TimeSpan.FromMilliseconds(50), 2);
        client.TryRead(out _).Should().BeTrue();
        client.TryRead(out _).Should().BeTrue();
        client.TryRead(out _).Should().BeFalse();
    });

    [Fact]
    public void The_end_of_the_guest_ends_what_clients_read()
    {
        using var asked = new ManualResetEventSlim();
        var reader = new Thread(() =>
        {
            asked.Wait();
            using var client = ControlClient.Connect(_folder.FullName, "tiny");
            client.AskStatistics(TimeSpan.FromMilliseconds(50), 0);
            client.TryRead(out _).Should().BeTrue();
            asked.Reset();
            while (client.TryRead(out _))
            {
                // Until the end.
            }
        });
        reader.Start();
        WithServer(() =>
        {
            asked.Set();
            SpinWait.SpinUntil(() => !asked.IsSet || !reader.IsAlive, Limit).Should().BeTrue();
        });
        reader.Join(Limit).Should().BeTrue();
        File.Exists(SocketPath).Should().BeFalse();
    }

    [Fact]
    public void Requests_that_are_none_are_answered_by_an_error_or_a_hang_up_and_others_are_served() => WithServer(() =>
    {
        Exchange("kvmsharp/9 stats 1000 1\n").Should().Contain("\"error\"");
        Exchange("nonsense\n").Should().Contain("\"error\"");
        Exchange(new string('x', 4096)).Should().BeEmpty();
        Exchange("kvmsharp/1 stats 1000 0\nand more").Should().NotContain("error", "who says more than it may is hung up on");
        using var silent = Connected();
        using var client = ControlClient.Connect(_folder.FullName, "tiny");
        client.AskStatistics(TimeSpan.FromSeconds(1), 1);
        client.TryRead(out _).Should().BeTrue();
    });

    [Fact]
    public void More_clients_than_there_are_places_are_sent_away_and_those_that_are_in_are_served() => WithServer(() =>
    {
        var many = Enumerable.Range(0, ControlServer.MostClients).Select(_ => ControlClient.Connect(_folder.FullName, "tiny")).ToList();
        foreach (var client in many)
        {
            client.AskStatistics(TimeSpan.FromMilliseconds(50), 0);
            client.TryRead(out _).Should().BeTrue();
        }

        Exchange("kvmsharp/1 stats 1000 1\n").Should().BeEmpty();
        foreach (var client in many)
        {
            client.TryRead(out _).Should().BeTrue();
            client.Dispose();
        }
    });

    [Fact]
    public void A_client_that_does_not_read_holds_nobody_up() => WithServer(() =>
    {
        using var lazy = Connected();
        lazy.Send(Encoding.ASCII.GetBytes("kvmsharp/1 stats 50 0\n"));
        using var client = ControlClient.Connect(_folder.FullName, "tiny");
        client.AskStatistics(TimeSpan.FromMilliseconds(50), 20);
        for (int i = 0; i < 20; i++)
            client.TryRead(out _).Should().BeTrue();
    });

    [Fact]
    public void A_dead_socket_is_replaced_and_a_living_one_is_not()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(SocketPath)!);
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(SocketPath));
            dead.Listen();
            // Closed, the class would remove its file: a killed process does not.
            File.Move(SocketPath, SocketPath + ".kept");
        }

        File.Move(SocketPath + ".kept", SocketPath);
        WithServer(() =>
        {
            File.GetUnixFileMode(SocketPath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
            ControlClient.Names(_folder.FullName).Should().Equal("tiny");
            using var vm = Build("tiny");
            ControlServer.TryOpen(vm, _folder.FullName, out string? why).Should().BeNull();
            why.Should().Be("another guest has its name");
            using var other = Build("../tiny");
            ControlServer.TryOpen(other, _folder.FullName, out why).Should().BeNull();
            why.Should().Contain("letters");
        });
    }

    private void WithServer(Action act)
    {
        using var vm = Build("tiny");
        using (ControlServer.TryOpen(vm, _folder.FullName, out string? why) ?? throw new InvalidOperationException(why))
        {
            vm.Start();
            act();
            vm.Stop(Kvm.Vmm.Reporting.VmOutcome.StoppedByUser);
            vm.Ended.Wait(Limit).Should().BeTrue();
        }
    }

    private VirtualMachine Build(string name)
    {
        string kernel = Path.Combine(_folder.FullName, "kernel");
        File.WriteAllBytes(kernel, Busy);
        return VirtualMachine.Build(new VmConfig { KernelPath = kernel, Name = name, MemoryBytes = 16 << 20, Engine = EngineChoice.Soft, Timeout = Limit }, new VmHost());
    }

    private Socket Connected()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(SocketPath));
        return socket;
    }

    /// <summary>What comes until the guest hangs up.</summary>
    private string Exchange(string request)
    {
        using var socket = Connected();
        try
        {
            socket.Send(Encoding.ASCII.GetBytes(request));
            using var stream = new NetworkStream(socket);
            using var reader = new StreamReader(stream);
            return reader.ReadToEnd();
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            return "";
        }
    }
}
