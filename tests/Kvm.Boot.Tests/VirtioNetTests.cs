using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Kvm.Tests.Support;
using Kvm.Vmm;
using Kvm.Vmm.Network;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio;

namespace Kvm.Boot.Tests;

/// <summary>Linux's own driver on the network card: frames to the host's kernel over TAP.</summary>
public sealed class VirtioNetTests
{
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
}

/// <summary>Gives one file to whoever asks for any, by HTTP/1.0, on a thread of its own.</summary>
internal sealed class FileServer : IDisposable
{
    private readonly TcpListener _listener;
    private readonly byte[] _content;
    private readonly Thread _thread;

    public FileServer(IPEndPoint at, byte[] content)
    {
        _content = content;
        // Made here: it is of the caller's network.
        _listener = new TcpListener(at);
        _listener.Start();
        _thread = new Thread(Serve) { IsBackground = true };
        _thread.Start();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>How often it was asked.</summary>
    public int Requests { get; private set; }

    /// <summary>Fetches /file from a server, by HTTP/1.0.</summary>
    public static byte[] Fetch(IPEndPoint from)
    {
        using var client = new TcpClient(from.AddressFamily) { ReceiveTimeout = 60_000 };
        client.Connect(from);
        using var stream = client.GetStream();
        stream.Write("GET /file HTTP/1.0\r\n\r\n"u8);
        using var all = new MemoryStream();
        stream.CopyTo(all);
        byte[] bytes = all.ToArray();
        int head = bytes.AsSpan().IndexOf("\r\n\r\n"u8);
        head.Should().BePositive();
        return bytes[(head + 4)..];
    }

    public void Dispose()
    {
        _listener.Stop();
        _thread.Join();
    }

    private void Serve()
    {
        while (true)
        {
            try
            {
                using var client = _listener.AcceptTcpClient();
                using var stream = client.GetStream();
                byte[] request = new byte[4096];
                int length = 0;
                while (request.AsSpan(0, length).IndexOf("\r\n\r\n"u8) < 0 && length < request.Length && stream.Read(request, length, request.Length - length) is > 0 and var count)
                    length += count;
                Requests++;
                stream.Write(Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {_content.Length}\r\n\r\n"));
                stream.Write(_content);
            }
            catch (IOException)
            {
                // Who hung up has had enough.
            }
            catch (SocketException)
            {
                return;
            }
        }
    }
}
