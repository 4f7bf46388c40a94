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

    /// <summary>Waits for an answer.</summary>
    /// <param name="ask">Asks; may throw <see cref="OperationCanceledException"/> once it is told to end.</param>
    /// <param name="signal">The signal that came first, where nothing is returned.</param>
    public static T? Ask<T>(Func<CancellationToken, Task<T>> ask, out int signal)
        where T : class
    {
        T? answer = null;
        int code = Run(cancel =>
        {
            answer = ask(cancel).GetAwaiter().GetResult();
            return 0;
        });
        signal = code - 128;
        return answer;
    }
}
