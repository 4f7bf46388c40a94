using System.Globalization;
using System.Text;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Virtio.Sockets;

/// <summary>Sockets between guest and host, as the user asked for them. Immutable.</summary>
public sealed record VsockConfig
{
    /// <summary>Bytes that the longest path needs behind it: an underscore and a port.</summary>
    private const int PortBytes = 11;

    /// <summary>The guest's context: <see cref="VsockDevice.FirstGuestCid"/> to <see cref="VsockDevice.LastGuestCid"/>.</summary>
    public required uint Cid { get; init; }

    /// <summary>
    /// The Unix socket by which programs of the host reach the guest's ports; for port N of the host's, programs in the guest reach who listens at this path with <c>_N</c> behind it.
    /// </summary>
    public required string SocketPath { get; init; }

    /// <summary>Understands what the command line says: <c>CID[,path=PATH]</c>; a comma of the path is written twice.</summary>
    /// <param name="text">The text.</param>
    /// <param name="vsock">What it asks for, where it is understood; without a path one in the runtime folder.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out VsockConfig vsock)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Replace(",,", "\0", StringComparison.Ordinal).Split(',');
        bool isNumber = uint.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out uint cid);
        vsock = new VsockConfig { Cid = cid, SocketPath = Path.Combine(Folders.Runtime, string.Create(CultureInfo.InvariantCulture, $"vsock-{cid}")) };
        if (!isNumber)
            return $"begins with {VisibleText.Quote(parts[0], 40)}, which is no context; {Range}";
        foreach (string part in parts[1..])
        {
            if (part.Split('=', 2) is not ["path", var path])
                return $"has the part {VisibleText.Quote(part, 40)}, not path=PATH";
            vsock = vsock with { SocketPath = path.Replace('\0', ',') };
        }

        return vsock.Problem();
    }

    /// <summary>What is wrong with it, or null.</summary>
    internal string? Problem()
    {
        if (Cid is < VsockDevice.FirstGuestCid or > VsockDevice.LastGuestCid)
            return string.Create(CultureInfo.InvariantCulture, $"has the context {Cid}; {Range}");
        if (SocketPath.Length == 0 || SocketPath.Contains('\0', StringComparison.Ordinal))
            return "names no socket";
        int bytes = Encoding.UTF8.GetByteCount(SocketPath), most = UnixListener.MaxPathBytes - PortBytes;
        return bytes <= most ? null : $"has a socket path of {bytes} bytes; with a port behind it, it has {most} at most";
    }

    private static string Range => string.Create(CultureInfo.InvariantCulture, $"a guest's is a number from {VsockDevice.FirstGuestCid} to {VsockDevice.LastGuestCid}");
}
