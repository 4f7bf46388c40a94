using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

#pragma warning disable CS1591 // fields and flags of <termios.h>, name for name

namespace Kvm.Interop;

/// <summary>Thirty-two control characters laid out as a C array.</summary>
[InlineArray(32)]
public struct TermiosControlCharacters
{
    private byte _e;
}

/// <summary><c>struct termios</c> of the C library: the modes of a terminal.</summary>
public struct Termios
{
    public const uint BRKINT = 0x0002;
    public const uint ICRNL = 0x0100;
    public const uint INPCK = 0x0010;
    public const uint ISTRIP = 0x0020;
    public const uint IXON = 0x0400;
    public const uint OPOST = 0x0001;
    public const uint CSIZE = 0x0030;
    public const uint CS8 = 0x0030;
    public const uint ISIG = 0x0001;
    public const uint ICANON = 0x0002;
    public const uint ECHO = 0x0008;
    public const uint IEXTEN = 0x8000;
    public const int VTIME = 5;
    public const int VMIN = 6;

    public uint CIflag;
    public uint COflag;
    public uint CCflag;
    public uint CLflag;
    public byte CLine;
    public TermiosControlCharacters CCc;
    public uint CIspeed;
    public uint COspeed;
}

/// <summary><c>struct winsize</c> (sys/ioctl.h): a terminal's size in characters.</summary>
public struct Winsize
{
    public ushort WsRow;
    public ushort WsCol;
    public ushort WsXpixel;
    public ushort WsYpixel;
}

internal static unsafe partial class Libc
{
    public const int TCSANOW = 0;
    public const int TCSADRAIN = 1;
    public const int TCSAFLUSH = 2;

    [LibraryImport(C)]
    public static partial int tcgetattr(int fd, Termios* modes);

    [LibraryImport(C)]
    public static partial int tcsetattr(int fd, int when, Termios* modes);
}
