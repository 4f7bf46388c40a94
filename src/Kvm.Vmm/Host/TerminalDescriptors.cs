using System.Text;
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

    /// <summary>
    /// Writes a text in UTF-8, whole or as far as somebody takes it. The class library's console is not used: before its first byte it
    /// reads the terminal's description, sets the terminal up and takes its signals, which costs time and would fight with raw mode.
    /// </summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="text">The text.</param>
    /// <exception cref="VmmException">The disk is full, or the device failed. That nobody reads a pipe any more is no error.</exception>
    public static void Write(int fd, string text)
    {
        var error = -DescriptorTarget.WriteAll(fd, Encoding.UTF8.GetBytes(text));
        if (error is not (0 or Errno.EPIPE))
            throw new VmmException(UsageErrors.CannotWrite, $"{(fd == Output ? "standard output" : $"descriptor {fd}")}: {Errno.TextOf(error)}");
    }

    /// <summary>Whether a descriptor is a terminal.</summary>
    /// <param name="fd">Any number.</param>
    public static bool IsTerminal(int fd) => Terminal.IsTerminal(fd);

    /// <summary>Whether a descriptor is a terminal that this process may use: not one whose foreground belongs to another job.</summary>
    /// <param name="fd">Any number.</param>
    public static bool IsForegroundTerminal(int fd) => Terminal.IsTerminal(fd) && !Terminal.IsInBackground(fd);

    /// <summary>How large a terminal is.</summary>
    /// <param name="fd">Any number.</param>
    /// <param name="columns">Characters in a line.</param>
    /// <param name="rows">Lines.</param>
    /// <returns>False where it does not know, or is no terminal.</returns>
    public static bool TryGetSize(int fd, out ushort columns, out ushort rows)
    {
        bool known = Terminal.TryGetSize(fd, out var size) == 0 && size is { WsCol: > 0, WsRow: > 0 };
        (columns, rows) = known ? (size.WsCol, size.WsRow) : ((ushort)0, (ushort)0);
        return known;
    }
}
