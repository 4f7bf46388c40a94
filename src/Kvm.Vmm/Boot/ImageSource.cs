using Kvm.Devices.Memory;
using Kvm.Interop;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The bytes of a kernel or initrd, read at random offsets. Each read says what it is for, so that a short file is
/// reported by the part that is missing.
/// </summary>
/// <remarks>Not thread-safe to dispose while reading; reading is.</remarks>
public abstract class ImageSource : IDisposable
{
    /// <summary>Prepares a source.</summary>
    /// <param name="name">The file's name as the user gave it.</param>
    /// <param name="length">Length in bytes.</param>
    private protected ImageSource(string name, ulong length)
    {
        Name = name;
        Length = length;
    }

    /// <summary>The file's name as the user gave it.</summary>
    public string Name { get; }

    /// <summary>Length in bytes, as it was when the source was made.</summary>
    public ulong Length { get; }

    /// <summary>Offset of this source's first byte in the file people see; not 0 for a part of a file.</summary>
    internal virtual ulong Origin => 0;

    /// <summary>Opens a regular file.</summary>
    /// <exception cref="LoadException">It cannot be opened, or is not a regular file (KVM0100).</exception>
    public static ImageSource Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (path.Contains('\0', StringComparison.Ordinal))
            throw LoadException.Unreadable(path.Replace("\0", "\\0", StringComparison.Ordinal), "a path has no NUL in it", null);
        int fd = Descriptor.OpenForReading(path);
        if (fd < 0)
            throw LoadException.Unreadable(path, ExplainErrno(-fd), null);
        var handle = new SafeFileHandle(fd, ownsHandle: true);
        try
        {
            if (Directory.Exists(path))
                throw LoadException.Unreadable(path, "it is a directory", null);
            return new FileSource(path, handle, (ulong)RandomAccess.GetLength(handle));
        }
        catch (Exception e) when (e is NotSupportedException or IOException)
        {
            handle.Dispose();
            throw LoadException.Unreadable(path, e is NotSupportedException ? "it is not a regular file" : e.Message, e);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    private static string ExplainErrno(int errno) => errno switch
    {
        Errno.ENOENT => "there is no such file",
        Errno.ENOTDIR => "there is no such file: a part of the path is not a directory",
        Errno.EACCES or Errno.EPERM => "permission denied",
        _ => $"it cannot be opened (errno {errno})",
    };

    /// <summary>A source over bytes in memory.</summary>
    public static ImageSource FromBytes(string name, ReadOnlyMemory<byte> bytes) => new BytesSource(name, bytes);

    /// <summary>A source over what was unpacked into guest memory.</summary>
    internal static ImageSource FromGuest(string name, GuestMemory memory, ulong address, ulong length) =>
        new GuestSource(name, memory, address, length);

    /// <summary>A part of this source; offsets in messages stay those of the whole.</summary>
    internal ImageSource Part(ulong offset, ulong length) => new PartSource(this, offset, length);

    /// <summary>Fills <paramref name="destination"/> from <paramref name="offset"/>.</summary>
    /// <param name="offset">Offset in this source.</param>
    /// <param name="destination">Where the bytes go; all of it is filled.</param>
    /// <param name="what">What the bytes are, for the message.</param>
    /// <exception cref="LoadException">The source ends before (KVM0103) or cannot be read (KVM0100).</exception>
    public void Read(ulong offset, Span<byte> destination, string what)
    {
        if (offset > Length || (ulong)destination.Length > Length - offset)
        {
            ulong there = offset > Length ? 0 : Length - offset;
            throw LoadException.At(LoadErrors.Truncated, this, what, offset, $"it needs {destination.Length} bytes, {there} are there");
        }

        ReadBounded(offset, destination, what);
    }

    /// <summary>Reads bytes that were found to be inside.</summary>
    private protected abstract void ReadBounded(ulong offset, Span<byte> destination, string what);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes what the source holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    private sealed class FileSource(string name, SafeFileHandle handle, ulong length) : ImageSource(name, length)
    {
        private protected override void ReadBounded(ulong offset, Span<byte> destination, string what)
        {
            try
            {
                while (destination.Length > 0)
                {
                    int n = RandomAccess.Read(handle, destination, (long)offset);
                    if (n == 0)
                        throw LoadException.At(LoadErrors.Truncated, this, what, offset, "the file became shorter while it was read");
                    destination = destination[n..];
                    offset += (ulong)n;
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw LoadException.Unreadable(Name, e.Message, e);
            }
        }

        protected override void Dispose(bool disposing)
        {
            handle.Dispose();
            base.Dispose(disposing);
        }
    }

    private sealed class BytesSource(string name, ReadOnlyMemory<byte> bytes) : ImageSource(name, (ulong)bytes.Length)
    {
        private protected override void ReadBounded(ulong offset, Span<byte> destination, string what) =>
            bytes.Span.Slice((int)offset, destination.Length).CopyTo(destination);
    }

    private sealed class GuestSource(string name, GuestMemory memory, ulong address, ulong length) : ImageSource(name, length)
    {
        private protected override void ReadBounded(ulong offset, Span<byte> destination, string what)
        {
            if (!memory.TryRead(address + offset, destination))
                throw LoadException.At(LoadErrors.DoesNotFit, this, what, offset, "it is outside guest memory");
        }
    }

    private sealed class PartSource(ImageSource whole, ulong offset, ulong length) : ImageSource(whole.Name, length)
    {
        internal override ulong Origin => whole.Origin + offset;

        private protected override void ReadBounded(ulong at, Span<byte> destination, string what) =>
            whole.Read(offset + at, destination, what);
    }
}
