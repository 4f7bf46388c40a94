namespace Kvm.Cli.Running;

/// <summary>Work that a signal ends early.</summary>
internal static class Cancellable
{
    /// <summary>Does it.</summary>
    /// <param name="work">The work; may throw <see cref="OperationCanceledException"/> once it is told to end.</param>
    /// <returns>Its exit code, or that of the signal.</returns>
    public static int Run(Func<CancellationToken, int> work)
    {
        int signal = 0;
        using var cancel = new CancellationTokenSource();
        using var signals = new SignalGuard(
            number =>
            {
                Interlocked.CompareExchange(ref signal, number, 0);
                cancel.Cancel();
            },
            () => { });
        try
        {
            return work(cancel.Token);
        }
        catch (OperationCanceledException) when (signal != 0)
        {
            return 128 + signal;
        }
    }
}
