using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Boot.Tests;

/// <summary>Linux's own driver on the socket device, and programs of the host on Unix sockets by Firecracker's convention.</summary>
public sealed class VirtioVsockTests : IDisposable
{
    private const int Megabyte = 1 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-vsock").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string SocketPath => Path.Combine(_folder, "v");

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, 1)]
    [InlineData(VirtioTransport.Mmio, 2)]
    [InlineData(VirtioTransport.Transitional, 1)]
    public void Programs_of_guest_and_host_connect_with_one_another_both_ways(VirtioTransport transport, int cpus)
    {
        Exception? failure = null;
        ulong sum = 0;
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath + "_52"));
        listener.Listen();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "vsock", s_limit,
            c => c with { Vsock = new VsockConfig { Cid = 3, SocketPath = SocketPath }, Virtio = transport, Cpus = cpus },
            vm => failure = Record.Exception(() =>
            {
                try
                {
                    sum = Serve(listener);
                    AskForLines();
                    AskForMegabyte();
                }
                catch
                {
                    vm.Stop(VmOutcome.StoppedByUser);
                    throw;
                }
            }));

        failure.Should().BeNull(run.Tail);
        run.Console.Should().Contain("GUEST-VSOCK says hello from the host", run.Tail)
            .And.Contain(string.Create(CultureInfo.InvariantCulture, $"GUEST-VSOCK read {Megabyte:x16} {sum:x16}"))
            .And.Contain("GUEST-VSOCK cannot connect", "nobody listens at 53").And.Contain("GUEST-VSOCK served").And.NotContain("GUEST-FAILED");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        var counters = run.Result.Devices["vsock0"];
        counters["connections"].Should().Be(3);
        counters["refused"].Should().BePositive();
        counters["dropped"].Should().BeLessThan(10, "a packet may meet the reset of its connection, no more");
        counters["bytesToGuest"].Should().BeGreaterThan(2 * Megabyte);
        counters["bytesFromGuest"].Should().BeGreaterThan(Megabyte);
        File.Exists(SocketPath).Should().BeFalse("the socket is removed at the end");
    }

    /// <summary>The guest's connection: a line each way, then a megabyte to the guest, which stopped sending.</summary>
    private static ulong Serve(Socket listener)
    {
        using var guest = listener.Accept();
        guest.ReceiveTimeout = guest.SendTimeout = 60_000;
        ReadLine(guest).Should().Be("hello from the guest");
        Send(guest, "hello from the host\n"u8);
        guest.Receive(new byte[1]).Should().Be(0, "it has ended what it sends");
        byte[] bytes = Pattern();
        Send(guest, bytes);
        return bytes.Aggregate(0ul, (sum, b) => unchecked(sum * 31 + b));
    }

    private void AskForLines()
    {
        using var client = Connect(80);
        Send(client, "one line\nand another\n"u8);
        ReadLine(client).Should().Be("one line");
        ReadLine(client).Should().Be("and another");
    }

    private void AskForMegabyte()
    {
        using var client = Connect(80);
        byte[] bytes = Pattern(), back = new byte[Megabyte];
        var sender = Task.Run(() =>
        {
            Send(client, bytes);
            client.Shutdown(SocketShutdown.Send);
        });
        for (int done = 0; done < back.Length;)
        {
            int count = client.Receive(back.AsSpan(done));
            count.Should().BePositive();
            done += count;
        }

        sender.Wait();
        back.AsSpan().SequenceEqual(bytes).Should().BeTrue();
        client.Receive(new byte[1]).Should().Be(0, "the guest has closed it");
    }

    /// <summary>Connects with a port of the guest's, as soon as somebody listens there.</summary>
    private Socket Connect(int port)
    {
        for (var deadline = DateTime.UtcNow.AddMinutes(1); ;)
        {
            var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000, SendTimeout = 60_000 };
            client.Connect(new UnixDomainSocketEndPoint(SocketPath));
            Send(client, Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"CONNECT {port}\n")));
            if (ReadLine(client) is { Length: > 0 } answer)
            {
                answer.Should().MatchRegex("^OK [0-9]+$");
                return client;
            }

            client.Dispose();
            DateTime.UtcNow.Should().BeBefore(deadline);
        }
    }

    private static byte[] Pattern()
    {
        byte[] bytes = new byte[Megabyte];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    private static void Send(Socket client, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[client.Send(bytes)..];
    }

    /// <summary>Reads to the end of the line, or of the stream.</summary>
    private static string ReadLine(Socket client)
    {
        var line = new StringBuilder();
        Span<byte> one = stackalloc byte[1];
        while (client.Receive(one) == 1 && one[0] != '\n')
            line.Append((char)one[0]);
        return line.ToString();
    }
}
