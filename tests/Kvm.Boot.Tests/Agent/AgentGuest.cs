using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Boot.Tests.Agent;

/// <summary>A Linux guest whose agent is asked by many tests, one after the other.</summary>
public sealed class AgentGuest : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-agent").FullName;
    private readonly StringBuilder _console = new();
    private VirtualMachine? _machine;
    private AgentClient? _client;

    /// <summary>The machine.</summary>
    public VirtualMachine Machine => _machine!;

    /// <summary>The Unix socket of its sockets.</summary>
    public string SocketPath => Path.Combine(_folder, "v");

    /// <summary>A folder of the host's, removed at the end.</summary>
    public string Folder => _folder;

    /// <summary>What it printed.</summary>
    public string Console
    {
        get
        {
            lock (_console)
                return _console.ToString();
        }
    }

    /// <summary>Boots it where that has not been done, and connects with its agent.</summary>
    public async Task<AgentClient> ClientAsync()
    {
        if (_client is not null)
            return _client;
        var config = new VmConfig
        {
            KernelPath = GuestFiles.Require("small/vmlinux"),
            InitrdPath = GuestFiles.Require("initramfs/initramfs.cpio"),
            Engine = EngineChoice.Soft,
            Append = "kvmsharp.agent=1",
            Timeout = TimeSpan.FromMinutes(10),
            Vsock = new VsockConfig { Cid = 3, SocketPath = SocketPath },
        };
        _machine = VirtualMachine.Build(config, new VmHost
        {
            ConsoleOutput = text =>
            {
                lock (_console)
                    _console.Append(Encoding.Latin1.GetString(text));
            },
        });
        _machine.Start();
        return _client = await AgentClient.ConnectAsync(SocketPath, s_patience);
    }

    public void Dispose()
    {
        _machine?.Stop(VmOutcome.StoppedByUser);
        _machine?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}
