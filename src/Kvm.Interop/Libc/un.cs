using System.Runtime.InteropServices;
using System.Text;

namespace Kvm.Interop;

/// <summary><c>struct sockaddr_un</c>: the address of a Unix socket that has a path (unix(7)).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SockaddrUn
{
    /// <summary>Bytes before the path.</summary>
    public const int PathOffset = sizeof(ushort);

    public ushort SunFamily;
    public fixed byte SunPath[UnixSocket.MostPathBytes];

    /// <summary>The bytes that are used: family, path, and its NUL.</summary>
    public uint Length
    {
        get
        {
            fixed (byte* path = SunPath)
            {
                return (uint)(PathOffset + new ReadOnlySpan<byte>(path, UnixSocket.MostPathBytes).IndexOf((byte)0) + 1);
            }
        }
    }

    /// <summary>Makes the address of a path of 1 to <see cref="UnixSocket.MostPathBytes"/> − 1 bytes of UTF-8, none of them NUL; false where it is another.</summary>
    public static bool TryMake(string path, out SockaddrUn address)
    {
        ArgumentNullException.ThrowIfNull(path);
        address = new SockaddrUn { SunFamily = Libc.AF_UNIX };
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes is 0 or >= UnixSocket.MostPathBytes || path.Contains('\0', StringComparison.Ordinal))
        {
            return false;
        }

        fixed (byte* to = address.SunPath)
        {
            Encoding.UTF8.GetBytes(path, new Span<byte>(to, UnixSocket.MostPathBytes));
        }

        return true;
    }
}
