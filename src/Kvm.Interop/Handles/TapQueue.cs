using System.Text;

namespace Kvm.Interop;

/// <summary>
/// One queue of a TAP interface (Documentation/networking/tuntap.rst): a descriptor by which whole Ethernet frames go in and out, each behind a
/// <c>virtio_net_hdr_v1</c> where <see cref="HasHeader"/>. Non-blocking. Calls for frames allocate nothing.
/// </summary>
public sealed unsafe class TapQueue : IDisposable
{
    /// <summary>The most bytes of an interface's name.</summary>
    public const int MostNameBytes = Libc.IFNAMSIZ - 1;

    /// <summary>Bytes of the header before each frame.</summary>
    public const int HeaderBytes = 12;

    // struct ifreq: the name, then a union of which the longest member has 24 bytes.
    private const int RequestBytes = 40;

    private TapQueue(FdHandle handle, string name, bool hasHeader, bool isMultiQueue) =>
        (Handle, Name, HasHeader, IsMultiQueue) = (handle, name, hasHeader, isMultiQueue);

    /// <summary>The descriptor; readable when a frame waits.</summary>
    public FdHandle Handle { get; }

    /// <summary>The interface's name, as of its opening.</summary>
    public string Name { get; }

    /// <summary>Frames have headers, so that checksums and segments may be left to either side.</summary>
    public bool HasHeader { get; }

    /// <summary>The interface may have several queues.</summary>
    public bool IsMultiQueue { get; }

    /// <summary>Opens a queue of an interface, which is made where there is none and goes away with its last queue.</summary>
    /// <param name="name">1 to <see cref="MostNameBytes"/> bytes.</param>
    /// <param name="multiQueue">It is to have several queues: this is called once for each.</param>
    /// <exception cref="KvmException">EPERM: it is somebody else's, or may not be made; EBUSY: it has its one queue; EINVAL: it is something else, or of one queue; ENOENT: no /dev/net/tun.</exception>
    public static TapQueue Open(string name, bool multiQueue)
    {
        int fd = Descriptor.Open("/dev/net/tun", Libc.O_RDWR | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            throw new KvmException("open (/dev/net/tun)", -fd);
        }

        FdHandle handle = new(fd);
        try
        {
            byte* request = stackalloc byte[RequestBytes];
            WriteName(request, name);
            *(short*)(request + Libc.IFNAMSIZ) = (short)(Libc.IFF_TAP | Libc.IFF_NO_PI | Libc.IFF_VNET_HDR | (multiQueue ? Libc.IFF_MULTI_QUEUE : 0));
            Check($"TUNSETIFF ({name})", Libc.ioctl(fd, Libc.TUNSETIFF, (nuint)request));
            return Of(handle);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Takes over a descriptor of a TAP or macvtap interface that somebody else opened.</summary>
    /// <exception cref="KvmException">EBADFD, ENOTTY, EINVAL: it is none. It is not closed then.</exception>
    public static TapQueue Adopt(FdHandle handle)
    {
        ArgumentNullException.ThrowIfNull(handle);
        int flags = Libc.fcntl(handle.Fd, Libc.F_GETFL, 0);
        Check("fcntl (F_SETFL)", flags < 0 ? flags : Libc.fcntl(handle.Fd, Libc.F_SETFL, flags | Libc.O_NONBLOCK));
        return Of(handle);
    }

    /// <summary>Says what frames that are read may leave undone: TUN_F_CSUM and the like; 0 for nothing.</summary>
    /// <returns>0 or -errno; EINVAL where this kernel does not know one.</returns>
    public int SetOffloads(uint offloads) => Libc.ioctl(Handle.Fd, Libc.TUNSETOFFLOAD, offloads) == 0 ? 0 : -Errno.Last;

    /// <summary>Lets frames come to this queue or not; of an interface that <see cref="IsMultiQueue"/>.</summary>
    /// <returns>0 or -errno; EINVAL where it was so before.</returns>
    public int SetAttached(bool attached)
    {
        byte* request = stackalloc byte[RequestBytes];
        new Span<byte>(request, RequestBytes).Clear();
        *(short*)(request + Libc.IFNAMSIZ) = attached ? (short)Libc.IFF_ATTACH_QUEUE : (short)Libc.IFF_DETACH_QUEUE;
        return Libc.ioctl(Handle.Fd, Libc.TUNSETQUEUE, (nuint)request) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Switches the interface on.</summary>
    /// <returns>0, also where it was on; else -errno: EPERM, it is for whoever administers it.</returns>
    public int BringUp()
    {
        byte* request = stackalloc byte[RequestBytes];
        WriteName(request, Name);
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0);
        if (fd < 0)
        {
            return -Errno.Last;
        }

        using FdHandle any = new(fd);
        if (Libc.ioctl(fd, Libc.SIOCGIFFLAGS, (nuint)request) != 0)
        {
            return -Errno.Last;
        }

        short* flags = (short*)(request + Libc.IFNAMSIZ);
        if ((*flags & Libc.IFF_UP) != 0)
        {
            return 0;
        }

        *flags |= Libc.IFF_UP;
        return Libc.ioctl(fd, Libc.SIOCSIFFLAGS, (nuint)request) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Takes the next frame, header first where it <see cref="HasHeader"/>; what does not fit is cut off.</summary>
    /// <param name="address">Where it goes.</param>
    /// <param name="length">Bytes there.</param>
    /// <returns>Its bytes, or -errno: EAGAIN, there is none; EBADFD, the interface is gone; EIO, it is off.</returns>
    public int Read(nint address, int length)
    {
        while (true)
        {
            nint count = Libc.read(Handle.Fd, (void*)address, (nuint)length);
            if (count >= 0)
            {
                return (int)count;
            }

            int errno = Errno.Last;
            if (errno != Errno.EINTR)
            {
                return -errno;
            }
        }
    }

    /// <summary>Gives a frame in pieces, laid out as <c>struct iovec</c>.</summary>
    /// <returns>Its bytes, or -errno as <see cref="Read"/>; EINVAL, the kernel will not have it.</returns>
    public int Write(ReadOnlySpan<IoVector> pieces)
    {
        fixed (IoVector* p = pieces)
        {
            while (true)
            {
                nint count = Libc.writev(Handle.Fd, p, pieces.Length);
                if (count >= 0)
                {
                    return (int)count;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private static TapQueue Of(FdHandle handle)
    {
        byte* request = stackalloc byte[RequestBytes];
        new Span<byte>(request, RequestBytes).Clear();
        Check("TUNGETIFF", Libc.ioctl(handle.Fd, Libc.TUNGETIFF, (nuint)request));
        int flags = *(ushort*)(request + Libc.IFNAMSIZ);
        if ((flags & Libc.IFF_TAP) == 0 || (flags & Libc.IFF_NO_PI) == 0)
        {
            throw new KvmException("TUNGETIFF", Errno.EINVAL);
        }

        bool hasHeader = (flags & Libc.IFF_VNET_HDR) != 0;
        int size = HeaderBytes;
        if (hasHeader)
        {
            Check("TUNSETVNETHDRSZ", Libc.ioctl(handle.Fd, Libc.TUNSETVNETHDRSZ, (nuint)(&size)));
        }

        ReadOnlySpan<byte> name = new(request, Libc.IFNAMSIZ);
        int end = name.IndexOf((byte)0);
        return new TapQueue(handle, Encoding.UTF8.GetString(end < 0 ? name : name[..end]), hasHeader, (flags & Libc.IFF_MULTI_QUEUE) != 0);
    }

    private static void WriteName(byte* request, string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Span<byte> bytes = new(request, RequestBytes);
        bytes.Clear();
        if (Encoding.UTF8.GetByteCount(name) > MostNameBytes)
        {
            throw new KvmException($"TUNSETIFF ({name})", Errno.ENAMETOOLONG);
        }

        Encoding.UTF8.GetBytes(name, bytes);
    }

    private static void Check(string call, int result)
    {
        if (result < 0)
        {
            throw new KvmException(call, Errno.Last);
        }
    }
}
