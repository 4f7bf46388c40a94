using System.Text;

namespace Kvm.Interop.Tests.Host;

/// <summary>Terminal calls on a pseudo-terminal's master side, which has modes and a size like any other.</summary>
public sealed unsafe class TerminalTests
{
    [SkippableFact]
    public void Modes_come_back_as_they_were_set()
    {
        using FdHandle terminal = OpenPseudoTerminal();
        Terminal.IsTerminal(terminal.Fd).Should().BeTrue();
        Terminal.TryGetModes(terminal.Fd, out Termios modes).Should().Be(0);
        Termios raw = modes;
        raw.CLflag &= ~(Termios.ICANON | Termios.ECHO | Termios.ISIG);
        raw.CCc[Termios.VMIN] = 1;
        raw.CCc[Termios.VTIME] = 2;

        Terminal.TrySetModes(terminal.Fd, in raw).Should().Be(0);

        Terminal.TryGetModes(terminal.Fd, out Termios again).Should().Be(0);
        (again.CLflag & (Termios.ICANON | Termios.ECHO | Termios.ISIG)).Should().Be(0);
        again.CCc[Termios.VTIME].Should().Be(2);
        Terminal.TrySetModes(terminal.Fd, in modes, drain: true).Should().Be(0);
    }

    [SkippableFact]
    public void The_size_is_the_terminals()
    {
        using FdHandle terminal = OpenPseudoTerminal();
        Winsize size = new() { WsRow = 33, WsCol = 101 };
        const uint setWindowSize = 0x5414; // TIOCSWINSZ
        Libc.ioctl(terminal.Fd, setWindowSize, (nuint)(&size)).Should().Be(0);

        Terminal.TryGetSize(terminal.Fd, out Winsize seen).Should().Be(0);

        (seen.WsRow, seen.WsCol).Should().Be(((ushort)33, (ushort)101));
    }

    [Fact]
    public void A_descriptor_that_is_no_terminal_says_so_by_number()
    {
        using EventFd fd = new();

        Terminal.IsTerminal(fd.Handle.Fd).Should().BeFalse();
        Terminal.TryGetModes(fd.Handle.Fd, out _).Should().Be(-Errno.ENOTTY);
        Terminal.TrySetModes(fd.Handle.Fd, default).Should().Be(-Errno.ENOTTY);
        Terminal.TryGetSize(fd.Handle.Fd, out _).Should().Be(-Errno.ENOTTY);
    }

    private static FdHandle OpenPseudoTerminal()
    {
        int fd;
        fixed (byte* path = Encoding.UTF8.GetBytes("/dev/ptmx\0"))
        {
            fd = Libc.open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        }

        Skip.If(fd < 0, "no pseudo-terminals (/dev/ptmx)");
        return new FdHandle(fd);
    }
}
