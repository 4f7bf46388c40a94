using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>A file of a store. Safe from several threads at once but for disposal; failures of the host are exceptions (IOException).</summary>
internal interface IStoreFile : IDisposable
{
    /// <summary>Bytes in it.</summary>
    long Length { get; }

    /// <summary>Reads from a position on: bytes read, fewer than asked for only at the end.</summary>
    int ReadAt(long position, Span<byte> to);

    /// <summary>Writes all of it at a position.</summary>
    void WriteAt(long position, ReadOnlySpan<byte> from);

    /// <summary>Makes what was written durable.</summary>
    void Flush();
}

/// <summary>What a store asks of the file system: where tests make it fail.</summary>
internal interface IStoreFiles
{
    /// <summary>Makes a file that is not there, for its owner only.</summary>
    IStoreFile Create(string path);

    /// <summary>Opens a regular file for reading.</summary>
    IStoreFile Open(string path);

    /// <summary>Gives a file another name; an IOException where that is taken and is not to be replaced.</summary>
    void Rename(string from, string to, bool replace);

    void Delete(string path);

    /// <summary>Makes the names in a folder durable.</summary>
    void SyncFolder(string path);

    /// <summary>Full paths of the files in a folder.</summary>
    IEnumerable<string> List(string folder);
}

/// <summary>The host's own.</summary>
internal sealed class HostStoreFiles : IStoreFiles
{
    public static HostStoreFiles Instance { get; } = new();

    public IStoreFile Create(string path) => new HostStoreFile(new FileStream(path, new FileStreamOptions
    {
        Mode = FileMode.CreateNew,
        Access = FileAccess.ReadWrite,
        Share = FileShare.ReadWrite | FileShare.Delete,
        BufferSize = 0,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
    }));

    public IStoreFile Open(string path)
    {
        // A pipe would wait for a writer.
        if (!DiskFile.IsRegularFile(path))
            throw File.Exists(path) ? new IOException("it is no regular file") : new FileNotFoundException(null, path);
        return new HostStoreFile(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0));
    }

    public void Rename(string from, string to, bool replace) => File.Move(from, to, replace);

    public void Delete(string path) => File.Delete(path);

    public void SyncFolder(string path)
    {
        int result = DiskFile.SyncFolder(path);
        if (result < 0)
            throw new IOException($"{VisibleText.Quote(path)}: {Errno.TextOf(-result)}");
    }

    public IEnumerable<string> List(string folder) => Directory.EnumerateFiles(folder);

    private sealed class HostStoreFile(FileStream stream) : IStoreFile
    {
        private readonly SafeFileHandle _handle = stream.SafeFileHandle;

        public long Length => RandomAccess.GetLength(_handle);

        public int ReadAt(long position, Span<byte> to)
        {
            int count = 0;
            while (count < to.Length)
            {
                int more = RandomAccess.Read(_handle, to[count..], position + count);
                if (more == 0)
                    break;
                count += more;
            }

            return count;
        }

        public void WriteAt(long position, ReadOnlySpan<byte> from) => RandomAccess.Write(_handle, from, position);

        public void Flush() => RandomAccess.FlushToDisk(_handle);

        public void Dispose() => stream.Dispose();
    }
}
