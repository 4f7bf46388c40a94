using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>Tells any number of tasks that the log of events may have grown: one thread waits for all. Thread-safe.</summary>
public sealed class EventPulse : IDisposable
{
    private const int StackBytes = 256 << 10;

    /// <summary>How long is waited at most where the folder cannot be watched, or a change was missed.</summary>
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(1);

    private readonly FileFollower _follower;
    private readonly CancellationTokenSource _end = new();
    private readonly Thread _thread;
    private TaskCompletionSource _next = New();
    private bool _closed;

    /// <summary>Begins to watch.</summary>
    /// <param name="log">The log.</param>
    /// <exception cref="IOException">Its folder cannot be made or watched.</exception>
    public EventPulse(EventLog log)
    {
        ArgumentNullException.ThrowIfNull(log);
        Directory.CreateDirectory(Path.GetDirectoryName(log.Path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _follower = new FileFollower(log.Path, fromEnd: true);
        _thread = new Thread(Main, StackBytes) { Name = "events", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Completes when something has been told since this was asked for. Ask before you look.</summary>
    public Task Next => Volatile.Read(ref _next).Task;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        _end.Cancel();
        _thread.Join();
        _follower.Dispose();
        _end.Dispose();
    }

    private void Main()
    {
        while (!_end.IsCancellationRequested)
        {
            _follower.Wait(s_longest, _end.Token);
            Interlocked.Exchange(ref _next, New()).SetResult();
        }
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
