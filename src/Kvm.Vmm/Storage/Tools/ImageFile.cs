using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>What a file system says of an image's file.</summary>
/// <param name="Device">Which file system it is on.</param>
/// <param name="Inode">Which file of that it is.</param>
/// <param name="Length">Bytes in it.</param>
/// <param name="Allocated">Bytes of storage it takes.</param>
/// <param name="Modified">When it was last written, in nanoseconds since 1970.</param>
public readonly record struct ImageFacts(ulong Device, ulong Inode, ulong Length, ulong Allocated, long Modified);

/// <summary>Files of images as whoever looks after many of them sees them. Thread-safe: no state.</summary>
public static class ImageFile
{
    /// <summary>Looks at a file without opening it.</summary>
    /// <returns>Null where there is no regular file of that name.</returns>
    public static ImageFacts? Look(string path) => FileFacts.Look(path, out var facts) == 0 && facts.IsRegular
        ? new ImageFacts(facts.Identity.Device, facts.Identity.Inode, facts.Length, facts.AllocatedBytes, facts.ModifiedNanoseconds)
        : null;

    /// <summary>Makes a file that shares the blocks of another until one of the two is written.</summary>
    /// <param name="source">The other.</param>
    /// <param name="target">The file, which is not there yet.</param>
    /// <returns>False, and nothing is made, where the file system has no such files.</returns>
    /// <exception cref="IOException">It cannot be made for another reason.</exception>
    public static bool TryShare(string source, string target)
    {
        using (new FileStream(target, FileMode.CreateNew, FileAccess.Write))
        {
        }

        int result;
        try
        {
            using DiskFile from = DiskFile.Open(source, readOnly: true, direct: false), to = DiskFile.Open(target, readOnly: false, direct: false);
            result = from.CloneTo(to);
        }
        catch (KvmException e)
        {
            result = -e.Errno;
        }

        if (result == 0)
            return true;
        File.Delete(target);
        return -result is Errno.EOPNOTSUPP or Errno.EXDEV or Errno.EINVAL or Errno.ENOTTY ? false : throw new IOException($"{VisibleText.Quote(target)}: {Errno.TextOf(-result)}");
    }

    /// <summary>Locks an image's file as a guest does, and so keeps guests from it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="alone">Nobody else may have it; else others that only read may.</param>
    /// <returns>What holds the lock; null where somebody has the file.</returns>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static IDisposable? TryHold(string path, bool alone)
    {
        DiskFile file;
        try
        {
            file = DiskFile.Open(path, readOnly: !alone, direct: false);
        }
        catch (KvmException e)
        {
            throw new IOException($"{VisibleText.Quote(path)}: {Errno.TextOf(e.Errno)}", e);
        }

        if (file.TryLock(alone) == 0)
            return file;
        file.Dispose();
        return null;
    }

    /// <summary>Has files and folders last, all at once: a journal of a file system that is asked together answers together.</summary>
    /// <exception cref="IOException">One of them cannot be.</exception>
    public static void Sync(params IReadOnlyList<string> paths)
    {
        ArgumentNullException.ThrowIfNull(paths);
        int[] results = new int[paths.Count];
        var threads = new Thread[Math.Max(0, paths.Count - 1)];
        for (int i = 0; i < threads.Length; i++)
        {
            int place = i + 1;
            threads[i] = new Thread(() => results[place] = Descriptor.SyncPath(paths[place]), 128 << 10) { IsBackground = true, Name = "sync" };
            threads[i].Start();
        }

        if (paths.Count > 0)
            results[0] = Descriptor.SyncPath(paths[0]);
        foreach (var thread in threads)
            thread.Join();
        for (int i = 0; i < results.Length; i++)
        {
            if (results[i] is < 0 and not -Errno.EINVAL)
                throw new IOException($"{VisibleText.Quote(paths[i])}: {Errno.TextOf(-results[i])}");
        }
    }
}
