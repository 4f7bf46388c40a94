using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>Files that are there whole or not at all, whenever the host or this process ends. Thread-safe: no state.</summary>
public static class DurableFile
{
    /// <summary>What the new content is called until it is whole.</summary>
    public const string Unfinished = ".new";

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Whether a link, a pipe, a folder or a device is where a file should be: opening it would lead elsewhere, or wait.</summary>
    public static bool IsImpostor(string path) => FileFacts.Look(path, out var facts) == 0 && !facts.IsRegular;

    /// <summary>Replaces a file's content, or makes the file (mode 0600). Where it fails the old content stays.</summary>
    /// <param name="path">The file; beside it PATH.new is used, so that only one may write it at a time.</param>
    /// <param name="content">The bytes.</param>
    /// <exception cref="IOException">It cannot be written: the disk is full, the folder is gone.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public static void Write(string path, ReadOnlySpan<byte> content)
    {
        string unfinished = path + Unfinished;
        // What was left there may be a link, which is not followed: the file is made anew.
        File.Delete(unfinished);
        try
        {
            using (var file = new FileStream(unfinished, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                BufferSize = 0,
                UnixCreateMode = OwnerOnly,
            }))
            {
                file.Write(content);
                file.Flush(flushToDisk: true);
            }

            File.Move(unfinished, path, overwrite: true);
        }
        catch (IOException)
        {
            File.Delete(unfinished);
            throw;
        }

        SyncFolder(Path.GetDirectoryName(path)!);
    }

    /// <summary>Has what was made, renamed and removed in a folder last.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="IOException">It cannot be.</exception>
    public static void SyncFolder(string path)
    {
        int result = Descriptor.SyncFolder(path);
        // A file system that has nothing to sync says EINVAL (fsync(2)).
        if (result is < 0 and not -Errno.EINVAL)
            throw new IOException($"{path}: {Errno.TextOf(-result)}");
    }
}
