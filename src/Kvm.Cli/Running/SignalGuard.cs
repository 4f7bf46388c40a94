using System.Runtime.InteropServices;

namespace Kvm.Cli.Running;

/// <summary>
/// Turns the signals that end a process into a call, so that the terminal is put back and the report written. A signal this process
/// was started with ignored (nohup) stays ignored.
/// </summary>
internal sealed class SignalGuard : IDisposable
{
    private static readonly (PosixSignal Signal, int Number)[] s_ending =
        [(PosixSignal.SIGHUP, 1), (PosixSignal.SIGINT, 2), (PosixSignal.SIGQUIT, 3), (PosixSignal.SIGTERM, 15)];

    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <summary>Begins to take the signals.</summary>
    /// <param name="end">Called with the number of each signal that should end the process; on a thread of the pool.</param>
    /// <param name="continued">Called when the process continues after it was stopped.</param>
    public SignalGuard(Action<int> end, Action continued)
    {
        foreach (var (signal, number) in s_ending)
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                end(number);
            }));
        }

        _registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGCONT, context =>
        {
            // The runtime would put the terminal back to what it was at the start.
            context.Cancel = true;
            continued();
        }));
    }

    public void Dispose()
    {
        foreach (var registration in _registrations)
            registration.Dispose();
    }
}
