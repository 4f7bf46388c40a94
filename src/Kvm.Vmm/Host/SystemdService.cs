using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>What systemd gives a service and is told by it (sd_listen_fds(3), sd_notify(3)). Nothing where this process is none.</summary>
public static class SystemdService
{
    private const int FirstDescriptor = 3;

    /// <summary>Takes the one socket that this process was started with. Once, at the start; what this process starts in turn does not get it.</summary>
    /// <returns>A descriptor, which the caller closes; null where there is none.</returns>
    /// <exception cref="IOException">There is more than one.</exception>
    public static int? TakeSocket()
    {
        string? process = Take("LISTEN_PID"), count = Take("LISTEN_FDS");
        _ = Take("LISTEN_FDNAMES");
        if (process != Environment.ProcessId.ToString(CultureInfo.InvariantCulture) || count is null or "0" || !Descriptor.IsOpen(FirstDescriptor))
            return null;
        if (count != "1")
            throw new IOException($"systemd gives {count} sockets, and one is served");
        using var inherited = new FdHandle(FirstDescriptor);
        return inherited.Duplicate().Release();
    }

    /// <summary>Tells systemd how this service is, such as <c>READY=1</c>; not at all where it does not want to know.</summary>
    public static void Notify(string state)
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path)
            return;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            // A name that begins with @ is in no folder (unix(7), "abstract").
            socket.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(path[0] == '@' ? '\0' + path[1..] : path));
        }
        catch (SocketException)
        {
            // It was restarted, or is none: the service goes on.
        }
    }

    private static string? Take(string variable)
    {
        string? value = Environment.GetEnvironmentVariable(variable);
        Environment.SetEnvironmentVariable(variable, null);
        return value;
    }
}
