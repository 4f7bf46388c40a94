using System.Runtime.InteropServices;
using System.Text;
using Kvm.Interop;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Cli.Tests;

/// <summary>A terminal whose other side the test holds: what a terminal emulator does. Closing it is the emulator's death.</summary>
internal sealed partial class PseudoTerminal : IDisposable
{
    private const int ReadWriteNoControl = 2 | 0x100 | 0x80000; // O_RDWR | O_NOCTTY | O_CLOEXEC
    private const int Size = 60; // struct termios of the C library

    private readonly SafeFileHandle _master;
    private readonly Thread _reader;
    private volatile bool _killed;
    private readonly StringBuilder _shown = new();
    private readonly object _lock = new();

    public PseudoTerminal()
    {
        var fd = posix_openpt(ReadWriteNoControl);
        if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0)
            throw new InvalidOperationException($"no pseudo terminal: {Marshal.GetLastPInvokeErrorMessage()}");
        var name = new byte[64];
        if (ptsname_r(fd, name, name.Length) != 0)
            throw new InvalidOperationException("the pseudo terminal has no name");
        Path = Encoding.ASCII.GetString(name, 0, Array.IndexOf(name, (byte)0));
        _master = new SafeFileHandle(fd, ownsHandle: true);
        // Without anybody on this side a hang-up would be reported before the program opens it.
        Slave = File.OpenHandle(Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        _reader = new Thread(Read) { IsBackground = true };
        _reader.Start();
    }

    /// <summary>The device a program opens.</summary>
    public string Path { get; }

    /// <summary>The program's side, held open.</summary>
    public SafeFileHandle Slave { get; }

    /// <summary>Everything shown so far.</summary>
    public string Shown
    {
        get
        {
            lock (_lock)
                return _shown.ToString();
        }
    }

    /// <summary>The modes, as bytes that can be compared.</summary>
    public byte[] Modes
    {
        get
        {
            var modes = new byte[Size];
            if (tcgetattr((int)Slave.DangerousGetHandle(), modes) != 0)
                throw new InvalidOperationException("the terminal has no modes");
            return modes;
        }
    }

    /// <summary>True while input comes as typed, without echo and signals.</summary>
    public bool IsRaw => (BitConverter.ToUInt32(Modes, 12) & (1 /* ISIG */ | 2 /* ICANON */ | 8 /* ECHO */)) == 0;

    public void Type(string keys) => Type(Encoding.Latin1.GetBytes(keys));

    public void Type(byte[] keys)
    {
        for (var sent = 0; sent < keys.Length;)
        {
            var count = Descriptor.Write(Master, keys.AsSpan(sent));
            count.Should().BePositive("the terminal takes keys");
            sent += count;
        }
    }

    /// <summary>Waits until a text was shown.</summary>
    public void WaitFor(string text, int seconds = 20) => WaitUntil(() => Shown.Contains(text, StringComparison.Ordinal), $"'{text}' on the terminal; it shows: {Shown}", seconds);

    public void WaitUntilRaw() => WaitUntil(() => IsRaw, "raw mode", 20);

    /// <summary>What kill -9 of the terminal emulator does.</summary>
    public void Kill()
    {
        _killed = true;
        _reader.Join();
        Slave.Dispose();
        _master.Dispose();
    }

    public void Dispose() => Kill();

    private static void WaitUntil(Func<bool> condition, string what, int seconds) =>
        SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(seconds)).Should().BeTrue($"within {seconds} s there should be {what}");

    private int Master => (int)_master.DangerousGetHandle();

    /// <summary>Never inside read when the terminal is killed: a descriptor in use would stay open.</summary>
    private void Read()
    {
        var buffer = new byte[4096];
        Span<PollFd> fds = stackalloc PollFd[1];
        while (!_killed)
        {
            fds[0] = new PollFd { Fd = Master, Events = PollFd.POLLIN };
            if (Descriptor.Poll(fds, 10) <= 0)
                continue;
            var count = Descriptor.Read(Master, buffer);
            if (count <= 0)
                return;
            lock (_lock)
                _shown.Append(Encoding.Latin1.GetString(buffer, 0, count));
        }
    }

    [LibraryImport("libc")]
    private static partial int posix_openpt(int flags);

    [LibraryImport("libc")]
    private static partial int grantpt(int fd);

    [LibraryImport("libc")]
    private static partial int unlockpt(int fd);

    [LibraryImport("libc")]
    private static partial int ptsname_r(int fd, [Out] byte[] name, nint length);

    [LibraryImport("libc")]
    private static partial int tcgetattr(int fd, [Out] byte[] modes);
}
