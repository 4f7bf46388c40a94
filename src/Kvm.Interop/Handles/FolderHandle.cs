using System.Buffers.Binary;
using System.Text;

namespace Kvm.Interop;

/// <summary>What a name in a folder is.</summary>
public enum FolderEntryKind
{
    /// <summary>A device, a socket or a pipe.</summary>
    Other,

    /// <summary>A regular file.</summary>
    File,

    /// <summary>A folder.</summary>
    Folder,

    /// <summary>A symbolic link.</summary>
    Link,
}

/// <summary>A file, folder or link, as far as copies keep it.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Mode">Its permissions, 12 bits.</param>
/// <param name="Seconds">When it was changed, since 1970.</param>
/// <param name="Nanoseconds">And the rest of that second.</param>
public readonly record struct FolderEntry(FolderEntryKind Kind, uint Mode, long Seconds, uint Nanoseconds);

/// <summary>
/// A folder by its descriptor, and what is in it by single names, so that nothing of it leads elsewhere whatever changes meanwhile: a link is never followed unless it is said.
/// Names are bytes, as the kernel has them, 1 to 255 without a slash or a zero. Methods return 0 or -errno. Not thread-safe.
/// </summary>
public sealed unsafe class FolderHandle : IDisposable
{
    /// <summary>The longest name in bytes.</summary>
    public const int MostName = 255;

    /// <summary>The longest target of a link in bytes.</summary>
    public const int MostTarget = 4095;

    private const int EntryName = 19;

    private FolderHandle(FdHandle handle) => Handle = handle;

    /// <summary>The descriptor.</summary>
    public FdHandle Handle { get; }

    /// <summary>Opens a folder by its path, links followed.</summary>
    public static int TryOpen(string path, out FolderHandle? folder)
    {
        int fd = Descriptor.Open(path, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        folder = fd < 0 ? null : new FolderHandle(new FdHandle(fd));
        return Math.Min(fd, 0);
    }

    /// <summary>True for bytes that are a name in a folder, and not the folder or the one above.</summary>
    public static bool IsName(ReadOnlySpan<byte> name) =>
        name.Length is > 0 and <= MostName && name.IndexOfAny((byte)'/', (byte)0) < 0 && !name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8);

    /// <summary>What a name is; of a link, of the link itself.</summary>
    public int TryLookAt(ReadOnlySpan<byte> name, out FolderEntry entry)
    {
        Span<byte> path = stackalloc byte[MostName + 1];
        Name(name, path);
        fixed (byte* p = path)
        {
            return Stat(Handle.Fd, p, Libc.AT_SYMLINK_NOFOLLOW, out entry);
        }
    }

    /// <summary>What an open file is.</summary>
    public static int TryLookAt(FdHandle file, out FolderEntry entry)
    {
        ArgumentNullException.ThrowIfNull(file);
        byte nothing = 0;
        return Stat(file.Fd, &nothing, Libc.AT_EMPTY_PATH, out entry);
    }

    /// <summary>Enters a folder that is no link.</summary>
    public int TryEnter(ReadOnlySpan<byte> name, out FolderHandle? folder)
    {
        int result = TryOpenAt(name, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_NOFOLLOW, out var handle);
        folder = handle is null ? null : new FolderHandle(handle);
        return result;
    }

    /// <summary>Opens a file for reading; a pipe that nobody writes to does not make it wait.</summary>
    public int TryOpenFile(ReadOnlySpan<byte> name, bool follow, out FdHandle? file) =>
        TryOpenAt(name, Libc.O_RDONLY | Libc.O_NONBLOCK | (follow ? 0 : Libc.O_NOFOLLOW), out file);

    /// <summary>Opens a file for writing, made where there is none (mode 0600); a pipe that nobody reads is an error (ENXIO).</summary>
    public int TryCreateFile(ReadOnlySpan<byte> name, bool follow, out FdHandle? file)
    {
        int error = TryOpenAt(name, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_NONBLOCK | (follow ? 0 : Libc.O_NOFOLLOW), out file);
        // Only opening was not to wait; writing may.
        if (error == 0)
        {
            _ = Libc.fcntl(file!.Fd, Libc.F_SETFL, 0);
        }

        return error;
    }

    /// <summary>Empties an open file.</summary>
    public static int TryEmpty(FdHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return Libc.ftruncate(file.Fd, 0) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Makes a folder (mode 0700); -EEXIST where the name is taken.</summary>
    public int TryMakeFolder(ReadOnlySpan<byte> name)
    {
        Span<byte> path = stackalloc byte[MostName + 1];
        Name(name, path);
        fixed (byte* p = path)
        {
            return Libc.mkdirat(Handle.Fd, p, 0x1c0) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>Makes a symbolic link.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="target">What it says, 1 to <see cref="MostTarget"/> bytes.</param>
    public int TryMakeLink(ReadOnlySpan<byte> name, ReadOnlySpan<byte> target)
    {
        Span<byte> path = stackalloc byte[MostName + 1], text = stackalloc byte[MostTarget + 1];
        Name(name, path);
        target.CopyTo(text);
        text[target.Length] = 0;
        fixed (byte* p = path, t = text)
        {
            return Libc.symlinkat(t, Handle.Fd, p) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>What a link says: its length, or -errno.</summary>
    public int TryReadLink(ReadOnlySpan<byte> name, Span<byte> target)
    {
        Span<byte> path = stackalloc byte[MostName + 1];
        Name(name, path);
        fixed (byte* p = path, t = target)
        {
            nint length = Libc.readlinkat(Handle.Fd, p, t, (nuint)target.Length);
            return length < 0 ? -Errno.Last : (int)length;
        }
    }

    /// <summary>Removes a name that is no folder.</summary>
    public int TryRemove(ReadOnlySpan<byte> name)
    {
        Span<byte> path = stackalloc byte[MostName + 1];
        Name(name, path);
        fixed (byte* p = path)
        {
            return Libc.unlinkat(Handle.Fd, p, 0) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>Sets the permissions and the time of change of an open file or folder.</summary>
    public static int TryKeep(FdHandle file, uint mode, long seconds, uint nanoseconds)
    {
        ArgumentNullException.ThrowIfNull(file);
        Timespec* times = stackalloc Timespec[2];
        times[0] = times[1] = new Timespec { TvSec = seconds, TvNsec = nanoseconds };
        return Libc.fchmod(file.Fd, mode) == 0 && Libc.futimens(file.Fd, times) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>The names in the folder, but for itself and the one above.</summary>
    public int TryList(out IReadOnlyList<byte[]> names)
    {
        List<byte[]> list = [];
        names = list;
        byte[] entries = new byte[32 << 10];
        while (true)
        {
            nint count;
            fixed (byte* p = entries)
            {
                count = Libc.getdents64(Handle.Fd, p, (nuint)entries.Length);
            }

            if (count <= 0)
            {
                return count < 0 ? -Errno.Last : 0;
            }

            for (var rest = entries.AsSpan(0, (int)count); !rest.IsEmpty; rest = rest[BinaryPrimitives.ReadUInt16LittleEndian(rest[16..])..])
            {
                var name = rest[EntryName..];
                name = name[..name.IndexOf((byte)0)];
                if (IsName(name))
                {
                    list.Add(name.ToArray());
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private int TryOpenAt(ReadOnlySpan<byte> name, int flags, out FdHandle? handle)
    {
        Span<byte> path = stackalloc byte[MostName + 1];
        Name(name, path);
        handle = null;
        fixed (byte* p = path)
        {
            while (true)
            {
                int fd = Libc.openat(Handle.Fd, p, flags | Libc.O_CLOEXEC, 0x180);
                if (fd >= 0)
                {
                    handle = new FdHandle(fd);
                    return 0;
                }

                int errno = Errno.Last;
                if (errno != Errno.EINTR)
                {
                    return -errno;
                }
            }
        }
    }

    private static int Stat(int fd, byte* path, int flags, out FolderEntry entry)
    {
        byte* all = stackalloc byte[Libc.StatxBytes];
        entry = default;
        if (Libc.statx(fd, path, flags, Libc.STATX_BASIC_STATS, all) != 0)
        {
            return -Errno.Last;
        }

        var stat = *(Statx*)all;
        var kind = (stat.StxMode & Libc.S_IFMT) switch
        {
            Libc.S_IFREG => FolderEntryKind.File,
            Libc.S_IFDIR => FolderEntryKind.Folder,
            Libc.S_IFLNK => FolderEntryKind.Link,
            _ => FolderEntryKind.Other,
        };
        entry = new FolderEntry(kind, stat.StxMode & 0xfffu, stat.StxMtime.TvSec, stat.StxMtime.TvNsec);
        return 0;
    }

    private static void Name(ReadOnlySpan<byte> name, Span<byte> path)
    {
        if (!IsName(name))
        {
            throw new ArgumentException($"{Encoding.UTF8.GetString(name)} is no name in a folder", nameof(name));
        }

        name.CopyTo(path);
        path[name.Length] = 0;
    }
}
