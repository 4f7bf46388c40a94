using System.Text;

namespace Kvm.Interop;

/// <summary>The address of a Unix socket that has a path: <c>struct sockaddr_un</c> (unix(7)), a family of two bytes, then the path and its NUL.</summary>
internal unsafe struct UnixAddress
{
    /// <summary>Bytes before the path.</summary>
    public const int PathOffset = 2;

    /// <summary>The bytes of <see cref="Bytes"/> that are used.</summary>
    public uint Length;

    /// <summary>The structure.</summary>
    public fixed byte Bytes[PathOffset + UnixSocket.MostPathBytes];

    /// <summary>Makes the address of a path of 1 to <see cref="UnixSocket.MostPathBytes"/> − 1 bytes of UTF-8; false where it is another.</summary>
    public static bool TryMake(string path, out UnixAddress address)
    {
        ArgumentNullException.ThrowIfNull(path);
        address = default;
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes is 0 or >= UnixSocket.MostPathBytes)
        {
            return false;
        }

        address.Length = (uint)(PathOffset + bytes + 1);
        fixed (byte* start = address.Bytes)
        {
            *(ushort*)start = Libc.AF_UNIX;
            Encoding.UTF8.GetBytes(path, new Span<byte>(start + PathOffset, UnixSocket.MostPathBytes));
        }

        return true;
    }
}
