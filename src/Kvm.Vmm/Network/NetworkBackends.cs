using Kvm.Devices.Net;
using Kvm.Interop;
using Kvm.Interop.Slirp;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Network;

/// <summary>Makes what a card's cable ends in.</summary>
internal static class NetworkBackends
{
    /// <summary>Opens it.</summary>
    /// <param name="config">What the user asked for.</param>
    /// <param name="failed">Told of a fault of the program on a thread of the backend's.</param>
    /// <param name="notice">Told what a person may want to know, a line.</param>
    /// <exception cref="VmmException">This host cannot.</exception>
    public static INetworkBackend Open(NetConfig config, Action<string> failed, Action<string>? notice) => config.Kind switch
    {
        NetKind.User => OpenUser(config, failed, notice),
        NetKind.Tap => new TapBackend(OpenTap(config)),
        NetKind.Descriptor => new TapBackend([Adopt(config.Descriptor)]),
        NetKind.Switch => SwitchRegistry.Shared.Join(config.Name, config.Port.Allowing(config.AllowHost), config.FixedMac ? config.Mac : null, failed, notice),
        _ => new NullBackend(),
    };

    /// <summary>Makes the file that frames are written to, with an interface for each card; null if none was asked for.</summary>
    /// <exception cref="VmmException">It cannot be written.</exception>
    public static PcapngWriter? OpenCapture(CaptureConfig? config, int cards)
    {
        if (config is null)
            return null;
        try
        {
            // What a guest sends is for its owner alone.
            var file = new FileStream(config.Path, new FileStreamOptions
            {
                Mode = FileMode.Create,
                Access = FileAccess.Write,
                Share = FileShare.Read,
                BufferSize = 1 << 16,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
            return new PcapngWriter(file, config.MaxBytes, Enumerable.Range(0, cards).Select(i => $"net{i}"), TimeProvider.System);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(config.Path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>An address by chance, of those that locally administered virtual cards usually have.</summary>
    public static MacAddress AnyMac()
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Size];
        HostRandom.Fill(bytes);
        (bytes[0], bytes[1], bytes[2]) = (0x52, 0x54, 0x00);
        return MacAddress.Read(bytes);
    }

    /// <summary>passt where it is installed and can start, else libslirp.</summary>
    private static INetworkBackend OpenUser(NetConfig config, Action<string> failed, Action<string>? notice)
    {
        // A passt without a table of flows (before 2024) answers datagrams by IPv6 from an address nobody asked.
        bool mustBeSlirp = config.Via == UserStack.Slirp || (config.Via == UserStack.Auto && config.Publish.Any(p => p.Udp && p.IsIpv6) && SlirpStack.IsInstalled);
        string? program = mustBeSlirp ? null : PasstBackend.FindProgram();
        if (program is null && config.Via != UserStack.Passt)
            return new SlirpBackend(config, failed);
        string why = "passt is not installed";
        if (program is not null && PasstBackend.TryStart(program, Folders.Runtime, config, notice, out why) is { } passt)
            return passt;
        if (config.Via == UserStack.Passt)
            throw new VmmException(NetworkErrors.NoUserNetwork, why);
        notice?.Invoke($"the user network is libslirp's: {why}");
        return new SlirpBackend(config, failed);
    }

    private static List<TapQueue> OpenTap(NetConfig config)
    {
        var queues = new List<TapQueue>();
        try
        {
            for (int i = 0; i < config.Queues; i++)
                queues.Add(TapQueue.Open(config.Name, config.Queues > 1));
            // Whoever may not is told by the guest's silence no more than that the interface is off, which is somebody's wish perhaps.
            queues[0].BringUp();
            return queues;
        }
        catch (KvmException e)
        {
            foreach (var queue in queues)
                queue.Dispose();
            throw new VmmException(NetworkErrors.NoTap, $"tap={VisibleText.Quote(config.Name)}: {e.Message}", e);
        }
    }

    private static TapQueue Adopt(int descriptor)
    {
        if (!Descriptor.IsOpen(descriptor))
            throw new VmmException(NetworkErrors.BadDescriptor, $"fd={descriptor} is not open");
        var handle = new FdHandle(descriptor);
        try
        {
            return TapQueue.Adopt(handle);
        }
        catch (KvmException e)
        {
            // What is refused stays its owner's: a handle that were left to the collector would close the number when somebody else has it.
            handle.SetHandleAsInvalid();
            throw new VmmException(NetworkErrors.BadDescriptor, $"fd={descriptor}: {e.Message}", e);
        }
    }
}
