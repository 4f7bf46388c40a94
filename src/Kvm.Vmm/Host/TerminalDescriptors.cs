using Kvm.Interop;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Vmm.Host;

/// <summary>The three descriptors a process is started with.</summary>
public static class TerminalDescriptors
{
    /// <summary>Standard input.</summary>
    public const int Input = 0;

    /// <summary>Standard output.</summary>
    public const int Output = 1;

    /// <summary>Standard error.</summary>
    public const int Error = 2;

    /// <summary>Kept so that the finalizer does not close them.</summary>
    private static readonly List<SafeFileHandle> s_fillers = [];

    /// <summary>
    /// Opens /dev/null where one of the three is closed: otherwise the next file opened, /dev/kvm say, would take its number and be
    /// read as the keyboard or written as the screen. Call before anything is opened.
    /// </summary>
    public static void FillClosed()
    {
        for (var fd = Input; fd <= Error; fd++)
        {
            // open gives the lowest free number, so this one.
            if (!Descriptor.IsOpen(fd))
                s_fillers.Add(File.OpenHandle("/dev/null", FileMode.Open, fd == Input ? FileAccess.Read : FileAccess.Write));
        }
    }

    /// <summary>Whether a descriptor is a terminal.</summary>
    /// <param name="fd">Any number.</param>
    public static bool IsTerminal(int fd) => Terminal.IsTerminal(fd);

    /// <summary>Whether a descriptor is a terminal that this process may use: not one whose foreground belongs to another job.</summary>
    /// <param name="fd">Any number.</param>
    public static bool IsForegroundTerminal(int fd) => Terminal.IsTerminal(fd) && !Terminal.IsInBackground(fd);
}
