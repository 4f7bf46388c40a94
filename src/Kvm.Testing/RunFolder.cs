using System.Globalization;
using Kvm.Vmm.Host;

namespace Kvm.Testing;

/// <summary>
/// Where this process keeps sockets and captures of its guests: a folder that is locked for as long as the process lives. Folders whose process is gone, however
/// it ended, are removed when the next one starts.
/// </summary>
internal static class RunFolder
{
    private const string LockName = "lock";

    private static readonly Lock s_gate = new();
    private static string? _path;
    private static FileStream? _lock;
    private static int _names;

    /// <summary>A path in the folder that nothing else has; it holds nothing yet.</summary>
    /// <param name="kind">What the name begins with, a few letters: paths of sockets must be short.</param>
    public static string NewPath(string kind) =>
        Path.Combine(Current(), string.Create(CultureInfo.InvariantCulture, $"{kind}{Interlocked.Increment(ref _names)}"));

    /// <summary>Removes the folders of processes that are gone.</summary>
    /// <param name="parent">Where they are.</param>
    public static void Sweep(string parent)
    {
        foreach (string folder in Directory.EnumerateDirectories(parent))
        {
            try
            {
                // Whoever lives holds the lock; a folder without one is about to get it, or was left half-removed.
                using (new FileStream(Path.Combine(folder, LockName), FileMode.Open, FileAccess.ReadWrite, FileShare.None))
                    Directory.Delete(folder, recursive: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Somebody's, or another process sweeps as well.
            }
        }
    }

    /// <summary>Makes a locked folder.</summary>
    /// <param name="parent">Where.</param>
    /// <param name="held">What holds its lock.</param>
    public static string Make(string parent, out FileStream held)
    {
        for (int attempt = 0; ; attempt++)
        {
            string folder = Path.Combine(parent, string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId:x}-{attempt:x}"));
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            try
            {
                held = new FileStream(Path.Combine(folder, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                return folder;
            }
            catch (Exception e) when (attempt < 100 && e is IOException or UnauthorizedAccessException)
            {
                // A process of the same number in another container has it, or it is being swept.
            }
        }
    }

    private static string Current()
    {
        lock (s_gate)
        {
            if (_path is not null)
                return _path;
            string parent = Directory.CreateDirectory(Path.Combine(Folders.Runtime, "testing"),
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute).FullName;
            Sweep(parent);
            _path = Make(parent, out _lock);
            AppDomain.CurrentDomain.ProcessExit += (_, _) => Remove();
            return _path;
        }
    }

    private static void Remove()
    {
        try
        {
            Directory.Delete(_path!, recursive: true);
            _lock?.Dispose();
        }
        catch (IOException)
        {
            // The next process removes it.
        }
    }
}
