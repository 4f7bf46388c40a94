using System.Diagnostics;
using System.Globalization;
using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>A process of this host that is never mistaken for a later one of the same number. Immutable.</summary>
/// <param name="Id">Its number.</param>
/// <param name="StartTime">When it was started, in clock ticks since the host booted (field 22 of /proc/PID/stat).</param>
public readonly record struct HostProcess(int Id, long StartTime)
{
    private const int StateField = 0, StartTimeField = 19, SigKill = 9, SigTerm = 15;

    /// <summary>This process.</summary>
    public static HostProcess Own => Find(Environment.ProcessId) ?? new HostProcess(Environment.ProcessId, 0);

    /// <summary>The host's boot, as a text that no other boot has; empty where /proc does not say.</summary>
    public static string BootId
    {
        get
        {
            try
            {
                return File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return "";
            }
        }
    }

    /// <summary>Whether it still runs; one that has ended and was not waited for does not.</summary>
    public bool IsAlive => Find(Id) is { } found && found.StartTime == StartTime;

    /// <summary>Its resident set in bytes (field 2 of /proc/PID/statm, in pages); 0 where it has ended.</summary>
    public long ResidentBytes
    {
        get
        {
            try
            {
                string[] fields = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{Id}/statm")).Split(' ');
                return long.Parse(fields[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or IndexOutOfRangeException)
            {
                return 0;
            }
        }
    }

    /// <summary>The process that has a number now; null where none has, or where it has ended.</summary>
    public static HostProcess? Find(int id)
    {
        if (id <= 0)
            return null;
        try
        {
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/stat"));
            // The name, in parentheses, may hold anything.
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[StateField] is "Z" or "X" ? null : new HostProcess(id, long.Parse(fields[StartTimeField], CultureInfo.InvariantCulture));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or IndexOutOfRangeException or ArgumentOutOfRangeException)
        {
            return null;
        }
    }

    /// <summary>Waits until it has ended.</summary>
    /// <param name="patience">How long at most; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>False where it still runs.</returns>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public bool WaitForEnd(TimeSpan patience, CancellationToken cancel = default)
    {
        using var process = Open();
        if (process is null)
            return true;
        using var wake = new EventFd();
        using var ending = cancel.Register(() => wake.Signal());
        var waited = Stopwatch.StartNew();
        while (true)
        {
            var left = patience == Timeout.InfiniteTimeSpan ? -1 : (int)Math.Clamp(Math.Ceiling((patience - waited.Elapsed).TotalMilliseconds), 0, int.MaxValue);
            Span<PollFd> fds = [new PollFd { Fd = process.Handle.Fd, Events = PollFd.POLLIN }, new PollFd { Fd = wake.Handle.Fd, Events = PollFd.POLLIN }];
            _ = Descriptor.Poll(fds, left);
            if (fds[0].Revents != 0)
            {
                PidFd.Reap(Id);
                return true;
            }

            cancel.ThrowIfCancellationRequested();
            if (left == 0)
                return false;
        }
    }

    /// <summary>Ends it at once (SIGKILL), if it still runs.</summary>
    public void Kill() => Signal(SigKill);

    /// <summary>Asks it to end (SIGTERM), if it still runs.</summary>
    public void Terminate() => Signal(SigTerm);

    private void Signal(int signal)
    {
        using var process = Open();
        _ = process?.Signal(signal);
    }

    /// <summary>A descriptor of it; null where it has ended.</summary>
    internal PidFd? Open()
    {
        PidFd? process = null;
        try
        {
            process = new PidFd(Id);
        }
        catch (KvmException e) when (e.Errno is Errno.ESRCH or Errno.EINVAL)
        {
            return null;
        }

        // Looked at after the descriptor holds it: the number cannot be another's any more.
        if (IsAlive)
            return process;
        process.Dispose();
        return null;
    }
}
