using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Kvm.Devices.Net.Metadata;
using Kvm.Interop.Slirp;
using Kvm.Tests.Support;
using Kvm.Vmm;
using Kvm.Vmm.Network;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio;

namespace Kvm.Boot.Tests;

/// <summary>Linux's own driver on the network card: frames to the host's kernel over TAP.</summary>
public sealed class VirtioNetTests
{
    private static readonly IPEndPoint s_anyPort = new(IPAddress.Loopback, 0);

    private const string Name = "kvmtest0";
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, 1, 1)]
    [InlineData(VirtioTransport.Mmio, 1, 1)]
    [InlineData(VirtioTransport.Transitional, 1, 1)]
    [InlineData(VirtioTransport.Pci, 2, 2)]
    public void Guest_fetches_a_file_over_tap_and_serves_it(VirtioTransport transport, int cpus, int queues)
    {
        GuestFiles.Require("small/vmlinux");
        NetworkNamespace.SkipWithoutTap();
        NetworkNamespace.Run(() =>
        {
            // It is there until it is deleted: its address is there before the guest is.
            NetworkNamespace.Ip($"tuntap add dev {Name} mode tap{(queues > 1 ? " multi_queue" : "")}");
            NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {Name}");
            NetworkNamespace.Ip($"link set {Name} up");
            byte[] content = RandomNumberGenerator.GetBytes(3 << 20);
            using var server = new FileServer(new IPEndPoint(IPAddress.Parse("10.9.0.1"), 0), content);
            Exception? failure = null;
            using var serves = new ManualResetEventSlim();
            var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit, c => c with
            {
                Networks = [new NetConfig { Kind = NetKind.Tap, Name = Name, Queues = queues }],
                Virtio = transport,
                Cpus = cpus,
                Append = $"{c.Append} ip=10.9.0.2::10.9.0.1:255.255.255.0::eth0:off kvmsharp.fetch=http://10.9.0.1:{server.Port}/file"
                    + (transport == VirtioTransport.Transitional ? " virtio_pci.force_legacy=1" : ""),
            },
                // On the test's thread, as that is in the test's network and the guest goes on meanwhile.
                meanwhile: vm =>
                {
                    failure = Record.Exception(() =>
                    {
                        WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                        FileServer.Fetch(new IPEndPoint(IPAddress.Parse("10.9.0.2"), 80)).AsSpan().SequenceEqual(content).Should().BeTrue();
                    });
                    vm.SendConsoleInput("end\n"u8);
                },
                when: ("GUEST-SERVES", _ => serves.Set()));
            failure.Should().BeNull(run.Tail);
            run.Console.Should().Contain("GUEST-ADDRESS eth0 10.9.0.2/24", run.Tail)
                .And.Contain($"GUEST-FETCHED {Convert.ToHexStringLower(SHA256.HashData(content))}", run.Tail).And.Contain("GUEST-DONE net").And.NotContain("GUEST-FAILED");
            run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
            var counters = run.Result.Devices["net0"];
            counters["bytesReceived"].Should().BeGreaterThan(content.Length);
            counters["bytesSent"].Should().BeGreaterThan(content.Length);
            (counters["malformed"], counters["receiveDropped"], counters["sendDropped"], counters["resetsNeeded"]).Should().Be((0, 0, 0, 0));
        });
    }

    /// <summary>No rights are needed: an address by DHCP, a file from a server on the host's loopback that is allowed, one through a published port.</summary>
    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, UserStack.Slirp)]
    [InlineData(VirtioTransport.Mmio, UserStack.Slirp)]
    [InlineData(VirtioTransport.Pci, UserStack.Passt)]
    public void Guest_of_a_user_network_gets_an_address_fetches_what_it_may_and_serves(VirtioTransport transport, UserStack stack)
    {
        GuestFiles.Require("small/vmlinux");
        SkipWithout(stack);
        byte[] content = RandomNumberGenerator.GetBytes(2 << 20);
        using var server = new FileServer(s_anyPort, content);
        using var secret = new FileServer(s_anyPort, content);
        int published = FreePort();
        string capture = Path.GetTempFileName();
        var run = RunUser(published, content, c => c with
        {
            Capture = new CaptureConfig(capture, 16 << 20),
            Networks = [User(published, server.Port, stack)],
            Virtio = transport,
            Append = $"{c.Append} ip=dhcp kvmsharp.fetch=http://10.0.2.2:{server.Port}/file kvmsharp.refused=http://10.0.2.2:{secret.Port}/file "
                + $"kvmsharp.refused=http://127.0.0.1:{secret.Port}/file kvmsharp.refused=http://0.0.0.0:{secret.Port}/file",
        });
        run.Console.Should().Contain("GUEST-ADDRESS eth0 10.0.2.15/24", run.Tail)
            .And.Contain($"GUEST-REFUSED http://10.0.2.2:{secret.Port}/file").And.Contain("GUEST-REFUSED http://127.0.0.1");
        secret.Requests.Should().Be(0);
        run.Result.Devices["net0"]["hostRefused"].Should().BePositive();
        byte[] captured = File.ReadAllBytes(capture);
        File.Delete(capture);
        captured.Length.Should().BeGreaterThan(2 * content.Length, "it was fetched and served");
        captured.AsSpan().IndexOf("GET /file"u8).Should().BePositive();
        run.Result.Devices["net0"]["captureLost"].Should().Be(0);
    }

    [SkippableTheory]
    [InlineData(UserStack.Slirp)]
    [InlineData(UserStack.Passt)]
    public void Guest_answers_datagrams_at_a_published_port(UserStack stack)
    {
        GuestFiles.Require("small/vmlinux");
        SkipWithout(stack);
        using var probe = new UdpClient(s_anyPort);
        int port = ((IPEndPoint)probe.Client.LocalEndPoint!).Port;
        probe.Dispose();
        string? answer = null;
        using var serves = new ManualResetEventSlim();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit, c => c with
        {
            Networks = [new NetConfig { Kind = NetKind.User, Via = stack, Publish = [new PublishedPort(IPAddress.Loopback, (ushort)port, 7, Udp: true)] }],
            Append = $"{c.Append} ip=dhcp kvmsharp.echo=7",
        },
            meanwhile: vm =>
            {
                WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                answer = AskByDatagram(port, vm.Ended);
                vm.SendConsoleInput("end\n"u8);
            },
            when: ("GUEST-SERVES", _ => serves.Set()));
        answer.Should().Be("is somebody there?", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
    }

    /// <summary>Nobody tells the guest an address of IPv6: it makes its own, and the stack knows which. With nothing said passt would do as well, but for datagrams.</summary>
    [SkippableTheory]
    [InlineData(UserStack.Auto)]
    [InlineData(UserStack.Passt)]
    public void Guest_is_reached_at_ports_published_by_IPv6(UserStack stack)
    {
        GuestFiles.Require("small/vmlinux");
        SkipWithout(stack == UserStack.Auto ? UserStack.Slirp : stack);
        Skip.IfNot(Socket.OSSupportsIPv6, "this host has no IPv6");
        int port = FreePort(IPAddress.IPv6Loopback);
        var published = new PublishedPort(IPAddress.IPv6Loopback, (ushort)port, 80, Udp: false);
        string? answer = null, fetched = null;
        using var serves = new ManualResetEventSlim();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit, c => c with
        {
            Networks = [new NetConfig { Kind = NetKind.User, Via = stack, Publish = stack == UserStack.Auto ? [published, published with { GuestPort = 7, Udp = true }] : [published] }],
            Append = $"{c.Append} ip=dhcp kvmsharp.echo=7 kvmsharp.make=by-six",
        },
            meanwhile: vm =>
            {
                WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                if (stack == UserStack.Auto)
                    answer = AskByDatagram(port, vm.Ended, IPAddress.IPv6Loopback);
                fetched = FetchInTheEnd(port, vm.Ended);
                vm.SendConsoleInput("end\n"u8);
            },
            when: ("GUEST-SERVES", _ => serves.Set()));
        fetched.Should().Be("by-six\n", run.Tail);
        answer.Should().Be(stack == UserStack.Auto ? "is somebody there?" : null, run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
    }

    /// <summary>Fetches until it can: an address is the guest's when nobody else was found to have it.</summary>
    private static string? FetchInTheEnd(int port, Task ended)
    {
        var deadline = DateTime.UtcNow + TimeSpan.FromMinutes(1);
        while (DateTime.UtcNow < deadline && !ended.IsCompleted)
        {
            try
            {
                return System.Text.Encoding.ASCII.GetString(FileServer.Fetch(new IPEndPoint(IPAddress.IPv6Loopback, port)));
            }
            catch (Exception e) when (e is SocketException or IOException)
            {
                // Not yet: the stack hangs up on who asks for an address that nobody answers for.
            }
        }

        return null;
    }

    /// <summary>Asks until somebody answers: a datagram may be lost, and the guest's program be about to start.</summary>
    private static string? AskByDatagram(int port, Task ended, IPAddress? at = null)
    {
        at ??= IPAddress.Loopback;
        using var client = new UdpClient(new IPEndPoint(at, 0));
        client.Client.ReceiveTimeout = 500;
        var deadline = DateTime.UtcNow + TimeSpan.FromMinutes(1);
        while (DateTime.UtcNow < deadline && !ended.IsCompleted)
        {
            try
            {
                client.Send("is somebody there?"u8, new IPEndPoint(at, port));
                var from = new IPEndPoint(at, 0);
                return System.Text.Encoding.ASCII.GetString(client.Receive(ref from));
            }
            catch (SocketException)
            {
                // Nobody yet: no answer, or the host says that nobody listens.
            }
        }

        return null;
    }

    /// <summary>Over KVM, where that interprets kernels for a minute; everywhere the card is the same.</summary>
    [SkippableFact]
    public void Linux_over_KVM_gets_its_metadata_at_a_card()
    {
        TinyMachine.RequireKvm();
        Skip.If(string.IsNullOrEmpty(Environment.GetEnvironmentVariable("KVMSHARP_FULL")), "takes a minute where KVM interprets kernels: scripts/test --full");
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Kvm, "net", TimeSpan.FromMinutes(10), c => c with
        {
            MemoryBytes = 64 << 20,
            Networks = [new NetConfig { Kind = NetKind.None }],
            Metadata = new MetadataConfig { Json = """{"ami-id": "ami-1"}""" },
            Append = $"{c.Append} ip=169.254.7.7:::255.255.0.0::eth0:off kvmsharp.show=http://169.254.169.254/ami-id",
        }, when: ("GUEST-SERVES", vm => vm.SendConsoleInput("end\n"u8)));
        run.Console.Should().Contain("GUEST-SHOWS ami-1", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
    }

    /// <summary>In a network of the test's own, where it is the nameserver too.</summary>
    [SkippableFact]
    public void Guest_of_a_user_network_resolves_a_name_and_reaches_the_host_by_IPv6()
    {
        GuestFiles.Require("small/vmlinux");
        SkipWithout(UserStack.Slirp);
        NetworkNamespace.SkipWithoutTap();
        NetworkNamespace.Run(() =>
        {
            NetworkNamespace.Ip("link set lo up");
            NetworkNamespace.Ip("addr add 198.51.100.53/32 dev lo");
            using var names = new NameServer(new IPEndPoint(IPAddress.Parse("198.51.100.53"), 53));
            byte[] content = RandomNumberGenerator.GetBytes(100_000);
            using var server = new FileServer(new IPEndPoint(IPAddress.IPv6Loopback, 0), content);
            int published = FreePort();
            var run = RunUser(published, content, c => c with
            {
                Networks = [User(published, server.Port, UserStack.Slirp)],
                Append = $"{c.Append} ip=dhcp kvmsharp.fetch=http://[fd00::2]:{server.Port}/file kvmsharp.resolve=guest.example",
            });
            run.Console.Should().Contain(NameServer.Answer, run.Tail);
            names.Questions.Should().BePositive();
        }, resolver: "nameserver 198.51.100.53\n");
    }

    /// <summary>No network but the service: its address is on the link, and all that there is on it.</summary>
    [SkippableFact]
    public void Guest_gets_a_token_and_its_metadata_where_there_is_nothing_else()
    {
        GuestFiles.Require("small/vmlinux");
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit, c => c with
        {
            Networks = [new NetConfig { Kind = NetKind.None }],
            Metadata = new MetadataConfig { Version = MetadataVersion.V2, Json = """{"latest": {"meta-data": {"ami-id": "ami-1", "tags": {}}}}""" },
            Append = $"{c.Append} ip=169.254.7.7:::255.255.0.0::eth0:off kvmsharp.refused=http://169.254.169.254/latest/meta-data/ami-id "
                + "kvmsharp.token=169.254.169.254 kvmsharp.show=http://169.254.169.254/latest/meta-data kvmsharp.show=http://169.254.169.254/latest/meta-data/ami-id",
        }, when: ("GUEST-SERVES", vm => vm.SendConsoleInput("end\n"u8)));
        run.Console.Should().Contain("GUEST-REFUSED http://169.254.169.254/latest/meta-data/ami-id", run.Tail)
            .And.Contain("GUEST-TOKEN 44").And.Contain("GUEST-SHOWS ami-id tags/").And.Contain("GUEST-SHOWS ami-1").And.NotContain("GUEST-FAILED");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        var counters = run.Result.Devices["net0"];
        (counters["metadataRequests"], counters["metadataRefused"], counters["metadataTokens"], counters["metadataEvicted"]).Should().Be((4, 1, 1, 0));
    }

    /// <summary>Beside a network: 300,000 bytes of metadata arrive whole, and what is for others goes on.</summary>
    [SkippableFact]
    public void Guest_of_a_user_network_fetches_its_metadata_and_a_file()
    {
        GuestFiles.Require("small/vmlinux");
        SkipWithout(UserStack.Slirp);
        string value = string.Concat(Enumerable.Range(0, 50_000).Select(i => $"{i:x4},"));
        byte[] content = RandomNumberGenerator.GetBytes(200_000);
        using var server = new FileServer(s_anyPort, content);
        int published = FreePort();
        var run = RunUser(published, content, c => c with
        {
            Networks = [User(published, server.Port, UserStack.Slirp)],
            Metadata = new MetadataConfig { Json = $$"""{"large": "{{value}}"}""" },
            Append = $"{c.Append} ip=dhcp kvmsharp.fetch=http://169.254.169.254/large kvmsharp.fetch=http://10.0.2.2:{server.Port}/file",
        });
        run.Console.Should().Contain($"GUEST-FETCHED {Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(value)))}", run.Tail);
    }

    private static void SkipWithout(UserStack stack)
    {
        Skip.If(stack == UserStack.Slirp && !SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        Skip.If(stack == UserStack.Passt && PasstBackend.FindProgram() is null, "passt is not installed");
    }

    private static NetConfig User(int published, int allowed, UserStack stack) => new()
    {
        Kind = NetKind.User,
        Via = stack,
        AllowHost = [new AllowedPort((ushort)allowed, false)],
        Publish = [new PublishedPort(IPAddress.Loopback, (ushort)published, 80, false)],
    };

    private static int FreePort(IPAddress? at = null)
    {
        using var listener = new TcpListener(at ?? IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Boots a guest that fetches the content and serves it at a published port of the host.</summary>
    private static LinuxRun RunUser(int published, byte[] content, Func<VmConfig, VmConfig> change)
    {
        Exception? failure = null;
        using var serves = new ManualResetEventSlim();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit, change,
            meanwhile: vm =>
            {
                failure = Record.Exception(() =>
                {
                    WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                    FileServer.Fetch(new IPEndPoint(IPAddress.Loopback, published)).AsSpan().SequenceEqual(content).Should().BeTrue();
                });
                vm.SendConsoleInput("end\n"u8);
            },
            when: ("GUEST-SERVES", _ => serves.Set()));
        failure.Should().BeNull(run.Tail);
        run.Console.Should().Contain($"GUEST-FETCHED {Convert.ToHexStringLower(SHA256.HashData(content))}", run.Tail)
            .And.Contain("GUEST-DONE net").And.NotContain("GUEST-FAILED");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        return run;
    }
}
