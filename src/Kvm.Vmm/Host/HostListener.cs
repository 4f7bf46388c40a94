using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>
/// A Unix socket at a path, mode 0600, for a server that takes descriptors. A socket of this user that nobody listens at any more is replaced;
/// a link, a file, another user's socket or one that is listened at is left alone. Not thread-safe.
/// </summary>
public sealed class HostListener : IDisposable
{
    private readonly UnixListener _listener;

    private HostListener(UnixListener listener) => _listener = listener;

    /// <summary>Makes the socket and listens.</summary>
    /// <param name="path">Its path, of 107 bytes at most.</param>
    /// <exception cref="IOException">It cannot be made, or something is there already.</exception>
    public static HostListener Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            return new HostListener(UnixListener.Open(path, backlog: 64));
        }
        catch (KvmException e)
        {
            throw new IOException(e.Errno == Errno.EADDRINUSE ? $"{path} is there already, and is no socket that was left behind" : e.Message, e);
        }
        catch (ArgumentException e)
        {
            throw new IOException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Another descriptor of the socket, which the caller closes.</summary>
    /// <exception cref="IOException">There is no descriptor left.</exception>
    public int Duplicate()
    {
        try
        {
            return _listener.Handle.Duplicate().Release();
        }
        catch (KvmException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    /// <summary>Removes the path, if it still leads to this socket.</summary>
    public void Dispose() => _listener.Dispose();

    /// <summary>Whether who is at the other end of a socket is this user or the administrator, by the kernel's word.</summary>
    /// <param name="user">The other end's user.</param>
    public static bool IsTrusted(uint user) => user == 0 || user == HostUser.EffectiveId;
}
