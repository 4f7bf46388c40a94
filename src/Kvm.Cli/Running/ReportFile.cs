using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Running;

/// <summary>The file a report goes to: checked before the run, written after it.</summary>
internal static class ReportFile
{
    /// <summary>Finds out before the guest runs whether its report can be written; leaves nothing behind.</summary>
    /// <exception cref="VmmException">It cannot.</exception>
    public static void Check(string path) => Try(path, () =>
    {
        // What exists may be a pipe that somebody reads: opening it would already be the message.
        if (Path.Exists(path) && !Directory.Exists(path))
            return;
        using (new FileStream(path, FileMode.CreateNew, FileAccess.Write))
            File.Delete(path);
    });

    /// <summary>Writes the file: a regular one, a pipe or a device.</summary>
    /// <exception cref="VmmException">It cannot be written.</exception>
    public static void Write(string path, string text) => Try(path, () => File.WriteAllText(path, text));

    /// <summary>Has a file written piece by piece.</summary>
    /// <exception cref="VmmException">It cannot be written.</exception>
    public static void Write(string path, Action<Stream> write) => Try(path, () =>
    {
        using var file = new FileStream(path, FileMode.Create, FileAccess.Write);
        write(file);
    });

    private static void Try(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }
}
