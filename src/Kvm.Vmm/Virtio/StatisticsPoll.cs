using Kvm.Devices.Virtio.Balloon;

namespace Kvm.Vmm.Virtio;

/// <summary>Asks a balloon for statistics again and again, by the machine's clock: in a run that is to repeat that is the guest's own.</summary>
internal sealed class StatisticsPoll : IDisposable
{
    private readonly BalloonDevice _balloon;
    private readonly ITimer _timer;
    private readonly Lock _gate = new();
    private bool _over;

    public StatisticsPoll(BalloonDevice balloon, TimeProvider time, TimeSpan period)
    {
        _balloon = balloon;
        _timer = time.CreateTimer(static poll => ((StatisticsPoll)poll!).Ask(), this, period, period);
    }

    /// <summary>Changes how often is asked; the first time is now. Any thread but the timer's.</summary>
    public void Every(TimeSpan period) => _timer.Change(TimeSpan.Zero, period);

    /// <summary>Afterwards nobody asks, and nobody is still asking: the rings are in memory that may go away.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_gate)
            _over = true;
    }

    private void Ask()
    {
        // A timer's thread that finds the last request still under way leaves it at that.
        if (!_gate.TryEnter())
            return;
        try
        {
            if (!_over)
                _balloon.RequestStatistics();
        }
        finally
        {
            _gate.Exit();
        }
    }
}
