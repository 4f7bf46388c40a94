using System.Text;
using Kvm.Devices.Virtio.Console;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Virtio.Ports;

/// <summary>What the guest's console is for it.</summary>
public enum GuestConsole
{
    /// <summary>The first serial port, <c>ttyS0</c> in Linux.</summary>
    Serial,

    /// <summary>A virtio console, <c>hvc0</c> in Linux; the serial port is shown until a driver has opened it.</summary>
    Virtio,
}

/// <summary>A named channel between a program in the guest and a Unix socket, as the user asked for it. Immutable.</summary>
public sealed record PortConfig
{
    /// <summary>The longest <see cref="Name"/>.</summary>
    public const int MaxNameLength = 64;

    /// <summary>The most ports of a machine.</summary>
    public const int MaxPorts = ConsoleDevice.MaxPorts;

    /// <summary>What the guest finds it by: <c>/dev/virtio-ports/NAME</c> in Linux.</summary>
    public required string Name { get; init; }

    /// <summary>Where clients on the host find it.</summary>
    public required string SocketPath { get; init; }

    /// <summary>
    /// Understands a port as the command line writes it: <c>name=NAME,socket=PATH</c>; a comma of the path is written twice.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="port">The port, where the text describes one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out PortConfig port)
    {
        ArgumentNullException.ThrowIfNull(text);
        port = new PortConfig { Name = "", SocketPath = "" };
        foreach (string part in text.Replace(",,", "\0", StringComparison.Ordinal).Split(','))
        {
            switch (part.Split('=', 2))
            {
                case ["name", var name]:
                    port = port with { Name = name };
                    break;
                case ["socket", var path]:
                    port = port with { SocketPath = path.Replace('\0', ',') };
                    break;
                default:
                    return $"has the part {VisibleText.Quote(part, 40)}, not one of name=NAME, socket=PATH";
            }
        }

        return port.Problem();
    }

    /// <summary>What is wrong with the port, or null.</summary>
    internal string? Problem()
    {
        if (Name.Length is 0 or > MaxNameLength || !Name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or ':'))
            return $"has the name {VisibleText.Quote(Name, 40)}; names are 1 to {MaxNameLength} letters, digits, dashes, dots, colons or underscores";
        if (SocketPath.Length == 0 || SocketPath.Contains('\0', StringComparison.Ordinal))
            return "names no socket";
        int bytes = Encoding.UTF8.GetByteCount(SocketPath);
        return bytes <= UnixListener.MaxPathBytes ? null : $"has a socket path of {bytes} bytes; a path of a socket has {UnixListener.MaxPathBytes} at most";
    }

    /// <summary>What is wrong with several ports of one machine, or null.</summary>
    internal static string? Problem(IReadOnlyList<PortConfig> ports)
    {
        if (ports.Count > MaxPorts)
            return $"{ports.Count} ports were asked for; a machine has {MaxPorts} at most";
        for (int i = 0; i < ports.Count; i++)
        {
            if (ports[i].Problem() is { } problem)
                return $"port {i} {problem}";
            for (int j = 0; j < i; j++)
            {
                if (ports[i].Name == ports[j].Name || ports[i].SocketPath == ports[j].SocketPath)
                    return $"ports {j} and {i} have the same name or socket";
            }
        }

        return null;
    }
}
