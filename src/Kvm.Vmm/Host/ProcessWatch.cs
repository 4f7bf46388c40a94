using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>Waits for the end of any of several processes. One thread, but for <see cref="Wake"/>.</summary>
public sealed class ProcessWatch : IDisposable
{
    private readonly Dictionary<HostProcess, PidFd> _watched = [];
    private readonly EventFd _wake = new();

    /// <summary>Says which processes are waited for from now on; those that have ended are none.</summary>
    public void Set(IReadOnlySet<HostProcess> processes)
    {
        ArgumentNullException.ThrowIfNull(processes);
        foreach (var process in _watched.Keys.Where(process => !processes.Contains(process)).ToList())
            Forget(process);
        foreach (var process in processes.Where(process => !_watched.ContainsKey(process)))
        {
            if (process.Open() is { } opened)
                _watched.Add(process, opened);
        }
    }

    /// <summary>Waits until one has ended, or <see cref="Wake"/> is called.</summary>
    /// <param name="patience">How long at most.</param>
    /// <returns>Those that have ended, which are no longer waited for.</returns>
    public IReadOnlyList<HostProcess> Wait(TimeSpan patience)
    {
        HostProcess[] processes = [.. _watched.Keys];
        var fds = new PollFd[processes.Length + 1];
        fds[^1] = new PollFd { Fd = _wake.Handle.Fd, Events = PollFd.POLLIN };
        for (int i = 0; i < processes.Length; i++)
            fds[i] = new PollFd { Fd = _watched[processes[i]].Handle.Fd, Events = PollFd.POLLIN };
        _ = Descriptor.Poll(fds, (int)Math.Clamp(Math.Ceiling(patience.TotalMilliseconds), 0, int.MaxValue));
        if (fds[^1].Revents != 0)
            _wake.Drain();
        List<HostProcess> ended = [];
        for (int i = 0; i < processes.Length; i++)
        {
            if (fds[i].Revents == 0)
                continue;
            // A child of this process is nobody else's to be taken leave of.
            PidFd.Reap(processes[i].Id);
            Forget(processes[i]);
            ended.Add(processes[i]);
        }

        return ended;
    }

    /// <summary>Has <see cref="Wait"/> return. Any thread.</summary>
    public void Wake() => _wake.Signal();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var process in _watched.Values)
            process.Dispose();
        _wake.Dispose();
    }

    private void Forget(HostProcess process)
    {
        _watched[process].Dispose();
        _watched.Remove(process);
    }
}
