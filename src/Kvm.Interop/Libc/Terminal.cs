namespace Kvm.Interop;

/// <summary>The calls about terminals, without a policy: which modes a console wants is its own business. Errors come back as -errno.</summary>
public static unsafe class Terminal
{
    /// <summary>Whether a descriptor is a terminal.</summary>
    public static bool IsTerminal(int fd) => Libc.isatty(fd) == 1;

    /// <summary>tcgetattr.</summary>
    public static int TryGetModes(int fd, out Termios modes)
    {
        modes = default;
        fixed (Termios* p = &modes)
        {
            return Libc.tcgetattr(fd, p) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>tcsetattr, at once or (<paramref name="drain"/>) after what was written has gone out.</summary>
    public static int TrySetModes(int fd, in Termios modes, bool drain = false)
    {
        fixed (Termios* p = &modes)
        {
            // A background process gets EINTR from its own SIGTTOU handler for ever: no loop here.
            return Libc.tcsetattr(fd, drain ? Libc.TCSADRAIN : Libc.TCSANOW, p) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>TIOCGWINSZ.</summary>
    public static int TryGetSize(int fd, out Winsize size)
    {
        size = default;
        fixed (Winsize* p = &size)
        {
            return Libc.ioctl(fd, Libc.TIOCGWINSZ, (nuint)p) == 0 ? 0 : -Errno.Last;
        }
    }

    /// <summary>
    /// Whether this process is in the background of the terminal: reading it or setting its modes would stop the process (SIGTTIN, SIGTTOU).
    /// False for a terminal that is not the controlling one.
    /// </summary>
    public static bool IsInBackground(int fd)
    {
        int group = 0;
        return Libc.ioctl(fd, Libc.TIOCGPGRP, (nuint)(&group)) == 0 && group != Libc.getpgrp();
    }
}
