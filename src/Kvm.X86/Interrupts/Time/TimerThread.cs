namespace Kvm.X86.Interrupts;

/// <summary>
/// Drives a <see cref="TimerQueue"/> in real time: one thread that sleeps until the next deadline and fires what is due.
/// The chips then notify the processors, so a running processor needs no check of its own but its attention word.
/// </summary>
public sealed class TimerThread : ITimerDriver, IDisposable
{
    private readonly TimerQueue _queue;
    private readonly IHostWait _wait;
    private readonly bool _ownsWait;
    private Thread? _thread;
    private volatile bool _stopping;
    private volatile bool _held;

    /// <summary>Becomes the driver of <paramref name="queue"/>; the thread starts with <see cref="Start"/>.</summary>
    /// <param name="queue">The machine's timers.</param>
    /// <param name="wait">The host's wait; the managed one, of millisecond grain, if null.</param>
    public TimerThread(TimerQueue queue, IHostWait? wait = null)
    {
        ArgumentNullException.ThrowIfNull(queue);
        _queue = queue;
        _ownsWait = wait is null;
        _wait = wait ?? new ManagedHostWait();
        queue.Driver = this;
    }

    /// <summary>Starts the thread; nothing happens if it runs.</summary>
    public void Start()
    {
        if (_thread is not null)
            return;
        _stopping = false;
        _thread = new Thread(Run) { Name = "chip timers", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Ends the thread and waits for it; no timer fires after that. Nothing happens if it does not run.</summary>
    public void Stop()
    {
        if (_thread is not { } thread)
            return;
        _stopping = true;
        _wait.Wake();
        thread.Join();
        _thread = null;
    }

    /// <summary>While the clock stands still, no deadline comes nearer and nothing is waited for; any thread.</summary>
    public void Hold(bool held)
    {
        _held = held;
        _wait.Wake();
    }

    /// <inheritdoc/>
    public void DeadlineMoved(ulong deadline) => _wait.Wake();

    /// <summary>Stops the thread.</summary>
    public void Dispose()
    {
        Stop();
        if (_ownsWait)
            (_wait as ManagedHostWait)?.Dispose();
    }

    private void Run()
    {
        while (!_stopping)
        {
            ulong next = _queue.Advance();
            ulong now = _queue.Clock.Now;
            if (next > now)
                _wait.Wait(_held || next == TimerQueue.Never ? TimerQueue.Never : next - now);
        }
    }
}
