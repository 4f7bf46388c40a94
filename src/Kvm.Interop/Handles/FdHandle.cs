using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Owns a file descriptor and closes it once.</summary>
public sealed class FdHandle : SafeHandle
{
    /// <summary>Takes ownership of <paramref name="fd"/>.</summary>
    public FdHandle(int fd)
        : base(-1, ownsHandle: true)
    {
        SetHandle(fd);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle < 0;

    /// <summary>The number, for calls that take it. Throws <see cref="ObjectDisposedException"/> after closing, so a number that was given away again is never used.</summary>
    public int Fd
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (int)handle;
        }
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.close((int)handle) == 0;
}
