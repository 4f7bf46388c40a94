using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Boot.Tests;

/// <summary>Linux's own driver on the virtio console: hvc0 as the console, and ports to real Unix sockets.</summary>
public sealed class VirtioConsoleTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-ports").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string SocketPath => Path.Combine(_folder, "echo");

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci)]
    [InlineData(VirtioTransport.Mmio)]
    public void Guest_logs_in_on_hvc0_and_its_serial_port_is_shown_no_more(VirtioTransport transport)
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "cat", s_limit, c => c with { Console = GuestConsole.Virtio, Virtio = transport },
            // It waits until there is somebody who reads it.
            vm => vm.SendConsoleInput("over hvc0\nend\n"u8).Should().Be(14));
        run.Console.Should().Contain("GUEST-READ over hvc0", run.Tail).And.Contain("GUEST-DONE cat");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Result.Ready.Should().NotBeNull("GUEST-UP comes on hvc0");
        var counters = run.Result.Devices["console0"];
        counters["bytesToGuest"].Should().Be(14);
        counters["bytesFromGuest"].Should().BeGreaterThan(50);
        run.Result.Devices["serial0"]["bytesToGuest"].Should().Be(0);
        Occurrences(run.Console, "GUEST-UP").Should().Be(1);
    }

    [SkippableFact]
    public void Guest_s_terminal_has_the_size_of_the_host_s_and_a_shell_runs_in_it()
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "shell", s_limit, c => c with { Console = GuestConsole.Virtio },
            vm =>
            {
                vm.SetConsoleSize(132, 43);
                vm.SendConsoleInput("stty size\nexit\n"u8);
            });
        run.Console.Should().Contain("43 132", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
    }

    [SkippableFact]
    public void Guest_that_panics_on_hvc0_has_panicked()
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "panic", s_limit, c => c with { Console = GuestConsole.Virtio });
        run.Result.Outcome.Should().Be(VmOutcome.Panic, run.Tail);
    }

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, 1)]
    [InlineData(VirtioTransport.Mmio, 2)]
    [InlineData(VirtioTransport.Transitional, 1)]
    public void Port_carries_lines_and_megabytes_both_ways_and_clients_come_and_go(VirtioTransport transport, int cpus)
    {
        Exception? failure = null;
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "port", s_limit, c => c with
        {
            Ports = [new PortConfig { Name = "echo", SocketPath = SocketPath }, new PortConfig { Name = "other", SocketPath = SocketPath + "2" }],
            Virtio = transport,
            Cpus = cpus,
            Append = c.Append + (transport == VirtioTransport.Transitional ? " virtio_pci.force_legacy=1" : ""),
        },
            vm => failure = Record.Exception(() => UsePort(vm)));
        failure.Should().BeNull(run.Tail);
        run.Console.Should().Contain("GUEST-PORT /dev/vport0p0", run.Tail).And.Contain("GUEST-REOPENS").And.Contain("GUEST-DONE port").And.NotContain("GUEST-FAILED");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        var counters = run.Result.Devices["ports0"];
        counters["clients"].Should().Be(3);
        counters["clientsRefused"].Should().Be(1);
        counters["bytesForNobody"].Should().Be(0);
        counters["bytesFromGuest"].Should().BeGreaterThan(Megabyte);
        Directory.GetFiles(_folder).Should().BeEmpty("the sockets are removed at the end");
    }

    private const int Megabyte = 1 << 20;

    private void UsePort(VirtualMachine vm)
    {
        try
        {
            using (var client = Client())
            {
                Line(client, "hello, guest", "echo hello, guest");
                using var second = Client();
                second.Receive(new byte[1]).Should().Be(0, "one at a time");
                Line(client, "still here?", "echo still here?");
            }

            using (var client = Client())
            {
                // More than both sockets and the device hold: the guest takes it at its own pace, and waits while nobody reads.
                byte[] bytes = RandomNumberGenerator.GetBytes(Megabyte), back = new byte[Megabyte];
                Send(client, Encoding.ASCII.GetBytes($"bytes {Megabyte}\n"));
                Send(client, bytes);
                ReadLine(client).Should().Be($"sum {Convert.ToHexStringLower(SHA256.HashData(bytes))}");
                Fill(client, back);
                back.AsSpan().SequenceEqual(bytes).Should().BeTrue();
                Line(client, "reopen", "reopened");
                Line(client, "again", "echo again ");
            }

            using var last = Client();
            Send(last, "end\n"u8);
        }
        catch
        {
            vm.Stop(VmOutcome.StoppedByUser);
            throw;
        }
    }

    private Socket Client()
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000, SendTimeout = 60_000 };
        client.Connect(new UnixDomainSocketEndPoint(SocketPath));
        return client;
    }

    private static void Line(Socket client, string said, string answer)
    {
        Send(client, Encoding.ASCII.GetBytes(said + "\n"));
        ReadLine(client).Should().Be(answer);
    }

    private static void Send(Socket client, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[client.Send(bytes)..];
    }

    private static string ReadLine(Socket client)
    {
        var line = new StringBuilder();
        byte[] one = new byte[1];
        while (true)
        {
            Fill(client, one);
            if (one[0] == '\n')
                return line.ToString();
            line.Append((char)one[0]);
        }
    }

    private static void Fill(Socket client, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int count = client.Receive(buffer);
            count.Should().BePositive("the guest still has something to say");
            buffer = buffer[count..];
        }
    }

    private static int Occurrences(string text, string part) => text.Split(part).Length - 1;
}
