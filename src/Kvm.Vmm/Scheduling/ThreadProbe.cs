using System.Globalization;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// A thread of this or another process, by its files in /proc (proc(5)): <c>stat</c> has its state, <c>syscall</c> what it sleeps in,
/// <c>schedstat</c> its CPU time, which for a thread that runs lags by a tick of the host and for one that sleeps is exact. Threads of this
/// process have a clock, which is exact.
/// </summary>
internal sealed class ThreadProbe : IThreadProbe
{
    private readonly int _process;
    private readonly int _thread;
    private readonly FdHandle? _state;
    private readonly FdHandle? _time;
    private readonly FdHandle? _call;

    public ThreadProbe(int process, int thread)
    {
        (_process, _thread) = (process, thread);
        string folder = string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/task/{thread}/");
        _state = Open(folder + "stat");
        _time = Open(folder + "schedstat");
        _call = Open(folder + "syscall");
    }

    public long CpuTime()
    {
        if (_process == Environment.ProcessId)
            return HostThread.CpuTime(_thread);
        Span<byte> text = stackalloc byte[64];
        return FirstNumber(text[..ReadTimes(text)]);
    }

    public long Demand()
    {
        Span<byte> text = stackalloc byte[64];
        ReadOnlySpan<byte> times = text[..ReadTimes(text)];
        long ran = FirstNumber(times), waited = FirstNumber(times[(times.IndexOf((byte)' ') + 1)..]);
        return ran < 0 || waited < 0 ? -1 : ran + waited;
    }

    public ThreadActivity Activity()
    {
        // "12 (name) S …": the name is at most 15 bytes and may hold anything, also parentheses.
        Span<byte> text = stackalloc byte[64];
        var activity = StateIn(text[..Read(_state, text)]);
        // A host that lets nobody look (ptrace(2), access mode checking) gives no text.
        return activity == ThreadActivity.Asleep && IsOutside(text[..Read(_call, text)]) ? ThreadActivity.Blocked : activity;
    }

    public bool Kick() => ThreadSignals.Kick(_process, _thread);

    public bool Hurry(bool on) => (on ? HostThread.SetRealTime(1, _thread) : HostThread.SetOrdinary(_thread)) == 0;

    public void Dispose()
    {
        _state?.Dispose();
        _time?.Dispose();
        _call?.Dispose();
    }

    internal static ThreadActivity StateIn(ReadOnlySpan<byte> stat)
    {
        int close = stat.LastIndexOf((byte)')');
        return close < 0 || close + 2 >= stat.Length
            ? ThreadActivity.Gone
            : stat[close + 2] switch
            {
                (byte)'R' => ThreadActivity.Awake,
                // A page or a lock of the kernel's: a halted vCPU can be interrupted.
                (byte)'D' => ThreadActivity.Blocked,
                (byte)'Z' or (byte)'X' => ThreadActivity.Gone,
                _ => ThreadActivity.Asleep,
            };
    }

    /// <summary>Whether that text of <c>syscall</c> is of a thread that sleeps in another call than KVM_RUN.</summary>
    /// <remarks>"16 0x3e 0xae80 …" is ioctl(62, KVM_RUN, …); "running" a thread that has woken meanwhile.</remarks>
    internal static bool IsOutside(ReadOnlySpan<byte> call)
    {
        if (call.IsEmpty || !char.IsAsciiDigit((char)call[0]))
            return false;
        if (!call.StartsWith("16 0x"u8))
            return true;
        ReadOnlySpan<byte> request = call["16 0x"u8.Length..];
        return !request[(request.IndexOf((byte)' ') + 1)..].StartsWith("0xae80 "u8);
    }

    internal static long FirstNumber(ReadOnlySpan<byte> text)
    {
        int space = text.IndexOf((byte)' ');
        return space > 0 && long.TryParse(text[..space], NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : -1;
    }

    private int ReadTimes(Span<byte> text) => Read(_time, text);

    private static int Read(FdHandle? file, Span<byte> text) => file is null ? 0 : Math.Max(0, Descriptor.ReadAt(file.Fd, text, 0));

    private static FdHandle? Open(string path)
    {
        int fd = Descriptor.OpenForReading(path);
        return fd < 0 ? null : new FdHandle(fd);
    }
}
