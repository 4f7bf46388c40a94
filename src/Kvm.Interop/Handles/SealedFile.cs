using System.Text;

namespace Kvm.Interop;

/// <summary>
/// A file in memory (memfd) that is written by one process, then sealed: from then on nobody, who made it included, can write to it or change its length. So whoever
/// maps it finds what was in it, and no access faults. Any thread.
/// </summary>
public sealed unsafe class SealedFile : IDisposable
{
    private const int AllSeals = Libc.F_SEAL_SEAL | Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_WRITE;

    private SealedFile(FdHandle handle, long length) => (Handle, Length) = (handle, length);

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>Makes one of zeros, which take no memory until they are written or mapped.</summary>
    /// <param name="name">Shown in /proc; at most 249 bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="KvmException">The host gives none.</exception>
    public static SealedFile Create(string name, long length)
    {
        int fd;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
        {
            fd = Libc.memfd_create(text, Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);
        }

        if (fd < 0)
        {
            throw new KvmException("memfd_create", Errno.Last);
        }

        FdHandle handle = new(fd);
        if (Libc.ftruncate(fd, length) == 0)
        {
            return new SealedFile(handle, length);
        }

        int errno = Errno.Last;
        handle.Dispose();
        throw new KvmException("ftruncate (memfd)", errno);
    }

    /// <summary>Takes over one of another process's making.</summary>
    /// <param name="handle">The descriptor; owned from now on, also where this throws.</param>
    /// <exception cref="KvmException">EINVAL: it is none, or not sealed: it could change.</exception>
    public static SealedFile Open(FdHandle handle)
    {
        ArgumentNullException.ThrowIfNull(handle);
        // In this order: a length that was read before the seals could be another one after.
        int seals = Libc.fcntl(handle.Fd, Libc.F_GET_SEALS, 0);
        long length = Libc.lseek(handle.Fd, 0, Libc.SEEK_END);
        if (seals >= 0 && (seals & AllSeals) == AllSeals && length > 0)
        {
            return new SealedFile(handle, length);
        }

        handle.Dispose();
        throw new KvmException("a sealed file in memory", Errno.EINVAL);
    }

    /// <summary>Writes bytes; not when it is sealed.</summary>
    /// <exception cref="KvmException">EPERM: it is sealed; ENOSPC, ENOMEM: the host has no room.</exception>
    public void Write(long offset, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* data = bytes)
        {
            for (int done = 0; done < bytes.Length;)
            {
                nint count = Libc.pwrite(Handle.Fd, data + done, (nuint)(bytes.Length - done), offset + done);
                if (count <= 0 && Errno.Last != Errno.EINTR)
                {
                    throw new KvmException("pwrite (memfd)", Errno.Last);
                }

                done += (int)Math.Max(0, count);
            }
        }
    }

    /// <summary>Reads bytes; true if there were so many.</summary>
    public bool TryRead(long offset, Span<byte> bytes)
    {
        fixed (byte* data = bytes)
        {
            for (int done = 0; done < bytes.Length;)
            {
                nint count = Libc.pread(Handle.Fd, data + done, (nuint)(bytes.Length - done), offset + done);
                if (count == 0 || (count < 0 && Errno.Last != Errno.EINTR))
                {
                    return false;
                }

                done += (int)Math.Max(0, count);
            }
        }

        return true;
    }

    /// <summary>Seals it.</summary>
    /// <exception cref="KvmException">EBUSY: somebody has it mapped for writing.</exception>
    public void Seal()
    {
        if (Libc.fcntl(Handle.Fd, Libc.F_ADD_SEALS, AllSeals) != 0)
        {
            throw new KvmException("fcntl (F_ADD_SEALS)", Errno.Last);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
