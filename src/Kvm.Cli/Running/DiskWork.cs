using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Kvm.Cli.Text;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Running;

/// <summary>
/// Work on images that takes a while: a line on a terminal that says how far it is, and an end by a signal that leaves nothing half-made. The line is
/// written by our own means: a console library would read the terminal's description and take its signals first.
/// </summary>
internal sealed class DiskWork : IDisposable
{
    private const int Width = 24;

    /// <summary>SIGXFSZ, which has no name in the class library.</summary>
    private const int FileTooLong = 25;

    private static readonly TimeSpan s_quiet = TimeSpan.FromMilliseconds(200);

    private readonly string _action;
    private readonly bool _shows;
    private readonly CancellationTokenSource _cancellation = new();
    private readonly SignalGuard _signals;
    // A write past the limit of a file's length (RLIMIT_FSIZE) is an error to tell of, not the end of the program.
    private readonly PosixSignalRegistration _tooLong = PosixSignalRegistration.Create((PosixSignal)FileTooLong, context => context.Cancel = true);
    private readonly Lock _gate = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private TimeSpan _shown;
    private ulong _done;
    private int _signal;
    private bool _lineIsOpen;

    /// <summary>Begins to take signals.</summary>
    /// <param name="action">What is done, for the line.</param>
    /// <param name="json">No line.</param>
    public DiskWork(string action, bool json)
    {
        _action = action;
        _shows = !json && TerminalDescriptors.IsForegroundTerminal(TerminalDescriptors.Error);
        _signals = new SignalGuard(
            number =>
            {
                _signal = number;
                _cancellation.Cancel();
            },
            () => { });
    }

    /// <summary>Ends the work when a signal came.</summary>
    public CancellationToken Cancellation => _cancellation.Token;

    /// <summary>Says how far the work is. Any thread.</summary>
    public void Report(ulong done, ulong all)
    {
        if (!_shows)
            return;
        lock (_gate)
        {
            _done = Math.Max(_done, done);
            var now = Stopwatch.GetElapsedTime(_start);
            if (now - _shown < s_quiet)
                return;
            _shown = now;
            _lineIsOpen = true;
            double part = all == 0 ? 1 : (double)_done / all;
            string bar = new string('#', (int)(part * Width)).PadRight(Width, '.');
            StandardStreams.Error(string.Create(CultureInfo.InvariantCulture,
                $"\r{_action} [{bar}] {part * 100,3:0} %  {DiskText.Size(_done)} of {DiskText.Size(all)}, {_done / now.TotalSeconds / (1 << 20):0} MiB/s\x1b[K"));
        }
    }

    /// <summary>Does the work, and what follows when it was not ended.</summary>
    /// <returns>The exit code: of <paramref name="after"/>, or by the signal.</returns>
    public int Run(Action work, Func<int> after)
    {
        try
        {
            work();
        }
        catch (OperationCanceledException)
        {
            CloseLine();
            StandardStreams.Error($"{_action}: ended by a signal; nothing is left half-made\n");
            return 128 + _signal;
        }
        finally
        {
            CloseLine();
        }

        return after();
    }

    public void Dispose()
    {
        _signals.Dispose();
        _tooLong.Dispose();
        _cancellation.Dispose();
    }

    private void CloseLine()
    {
        if (_lineIsOpen)
            StandardStreams.Error("\r\x1b[K");
        _lineIsOpen = false;
    }
}
