using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>
/// Puts a terminal into raw mode, so that every key reaches the guest, and puts it back. Putting back may be asked for
/// from any thread and as often as one likes, also while the process dies of an exception.
/// </summary>
public sealed class TerminalMode : IDisposable
{
    // termios.h on x86-64; these are few enough to stand where their meaning is.
    private const uint InputSwitches = 0x0001 /* IGNBRK */ | 0x0002 /* BRKINT */ | 0x0008 /* PARMRK */ | 0x0020 /* ISTRIP */
        | 0x0040 /* INLCR */ | 0x0080 /* IGNCR */ | 0x0100 /* ICRNL */ | 0x0400 /* IXON */;
    private const uint LocalSwitches = Termios.ECHO | 0x0040 /* ECHONL */ | Termios.ICANON | Termios.ISIG | Termios.IEXTEN;
    private const uint ParityEnable = 0x0100;

    private readonly int _fd;
    private readonly Lock _lock = new();
    private readonly Termios _before;
    private bool _raw;

    private TerminalMode(int fd, in Termios before)
    {
        _fd = fd;
        _before = before;
    }

    /// <summary>
    /// Puts the terminal at <paramref name="fd"/> into raw mode; null where it is no terminal, or where this process is in the
    /// background of it and would be stopped by the attempt.
    /// </summary>
    /// <param name="fd">A descriptor, which stays the caller's.</param>
    public static TerminalMode? TryEnter(int fd)
    {
        if (!Terminal.IsTerminal(fd) || Terminal.IsInBackground(fd) || Terminal.TryGetModes(fd, out var before) != 0)
            return null;
        var mode = new TerminalMode(fd, before);
        return mode.Enter() ? mode : null;
    }

    /// <summary>Sets raw mode again after something else changed it: a shell that continued this process.</summary>
    /// <returns>False where the terminal did not take it, or this process is in its background.</returns>
    public bool Enter()
    {
        lock (_lock)
        {
            if (Terminal.IsInBackground(_fd))
                return false;
            // What cfmakeraw does (man 3 termios).
            var raw = _before;
            raw.CIflag &= ~InputSwitches;
            raw.COflag &= ~Termios.OPOST;
            raw.CLflag &= ~LocalSwitches;
            raw.CCflag = (raw.CCflag & ~(Termios.CSIZE | ParityEnable)) | Termios.CS8;
            raw.CCc[Termios.VMIN] = 1;
            raw.CCc[Termios.VTIME] = 0;
            _raw = Terminal.TrySetModes(_fd, raw) == 0;
            return _raw;
        }
    }

    /// <summary>Puts the terminal back as it was found. Does nothing the second time.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            if (!_raw)
                return;
            _raw = false;
            // The terminal may be gone, or have given the foreground to somebody who set his own modes: nothing to mend then.
            if (!Terminal.IsInBackground(_fd))
                _ = Terminal.TrySetModes(_fd, _before);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Restore();
}
