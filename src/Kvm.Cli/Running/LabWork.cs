namespace Kvm.Cli.Running;

/// <summary>A lab that runs, and the signals that end it.</summary>
internal sealed class LabWork : IDisposable
{
    private readonly CancellationTokenSource _cancellation = new();
    private readonly SignalGuard _signals;
    private int _signal;

    /// <summary>Begins to take signals.</summary>
    public LabWork() => _signals = new SignalGuard(
        number =>
        {
            Interlocked.CompareExchange(ref _signal, number, 0);
            _cancellation.Cancel();
        },
        () => { });

    /// <summary>Ends the run when a signal came.</summary>
    public CancellationToken Cancellation => _cancellation.Token;

    /// <summary>The exit code where a signal ended the run, else null.</summary>
    public int? ExitCode => Volatile.Read(ref _signal) is > 0 and var number ? 128 + number : null;

    public void Dispose()
    {
        _signals.Dispose();
        _cancellation.Dispose();
    }
}
