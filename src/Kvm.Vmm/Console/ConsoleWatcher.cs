using Kvm.Vmm.Host;

namespace Kvm.Vmm.Console;

/// <summary>
/// Sits between the guest's console and whoever shows it: looks for the text that says the guest is up and for the
/// kernel's panic line, and passes every byte on.
/// </summary>
/// <remarks>Safe from any thread: a guest may have two consoles, of which one is shown.</remarks>
internal sealed class ConsoleWatcher(string? readyText, ConsoleSink? next)
{
    /// <summary>What panic() in Linux's kernel/panic.c prints before anything else.</summary>
    private const string PanicLine = "Kernel panic - not syncing:";

    private readonly TextMatcher? _ready = readyText is null ? null : new TextMatcher(readyText);
    private readonly TextMatcher _panic = new(PanicLine);
    private readonly TextMatcher _hiddenPanic = new(PanicLine);
    private readonly Lock _lock = new();
    private volatile bool _serialHidden;
    private long _readyTicks;
    private long _produced;
    private long _shown;

    /// <summary>When the awaited text was complete, since the process started; null while it was not.</summary>
    public TimeSpan? ReadyAt => Volatile.Read(ref _readyTicks) is var t and not 0 ? TimeSpan.FromTicks(t) : null;

    /// <summary>Called when the awaited text is complete, on the thread that wrote it.</summary>
    public Action? Ready { get; set; }

    /// <summary>True once the guest's kernel said that it panicked.</summary>
    public bool PanicSeen => _panic.Found || _hiddenPanic.Found;

    /// <summary>
    /// True while the guest has a better console than its serial port: what it writes there, which is the same lines again, is not shown then.
    /// </summary>
    public bool SerialHidden
    {
        get => _serialHidden;
        set => _serialHidden = value;
    }

    /// <summary>
    /// How much the guest has written, and whether its serial port is hidden. A run that is set back writes what it wrote before again: that
    /// is not shown, nor looked at, a second time.
    /// </summary>
    public (long Produced, bool SerialHidden) Position
    {
        get
        {
            lock (_lock)
                return (_produced, _serialHidden);
        }
        set
        {
            lock (_lock)
                (_produced, _serialHidden) = value;
        }
    }

    /// <summary>Takes output of the serial port.</summary>
    public void WriteSerial(ReadOnlySpan<byte> text)
    {
        if (!_serialHidden)
        {
            Write(text);
            return;
        }

        lock (_lock)
            _hiddenPanic.Feed(text);
    }

    /// <summary>Takes console output.</summary>
    public void Write(ReadOnlySpan<byte> text)
    {
        lock (_lock)
            WriteLocked(text);
    }

    private void WriteLocked(ReadOnlySpan<byte> text)
    {
        int again = (int)Math.Min(_shown - _produced, text.Length);
        _produced += text.Length;
        if (again > 0)
            text = text[again..];
        if (text.IsEmpty)
            return;
        _shown = _produced;
        if (_ready is not null && _ready.Feed(text))
        {
            Volatile.Write(ref _readyTicks, ProcessClock.SinceProcessStart().Ticks);
            Ready?.Invoke();
        }

        _panic.Feed(text);
        next?.Invoke(text);
    }
}
