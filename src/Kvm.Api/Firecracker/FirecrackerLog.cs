using System.Globalization;
using System.Text;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>How much a line matters, from the most on.</summary>
internal enum LogLevel
{
    /// <summary>Nothing is logged.</summary>
    Off,

    /// <summary>Something was refused or failed.</summary>
    Error,

    /// <summary>Something should be known.</summary>
    Warn,

    /// <summary>What is done.</summary>
    Info,

    /// <summary>With details.</summary>
    Debug,

    /// <summary>With all of them.</summary>
    Trace,
}

/// <summary>Firecracker's log: a line of text for each request and each event, where <c>/logger</c> says. Nothing is logged before. Thread-safe.</summary>
/// <param name="id">The microVM's id, which is in each line.</param>
/// <param name="time">The clock.</param>
internal sealed class FirecrackerLog(string id, TimeProvider time) : IDisposable
{
    private readonly Lock _gate = new();
    private LineFile? _file;
    private LogLevel _level = LogLevel.Info;
    private bool _showsLevel, _showsOrigin;
    private string? _module;

    /// <summary>Lines that were lost.</summary>
    public long Lost
    {
        get
        {
            lock (_gate)
                return _file?.Lost ?? 0;
        }
    }

    /// <summary>Understands a level, in whatever case.</summary>
    /// <returns>The level, or null.</returns>
    public static LogLevel? LevelOf(string text) => text.ToUpperInvariant() switch
    {
        "OFF" => LogLevel.Off,
        "ERROR" => LogLevel.Error,
        "WARN" or "WARNING" => LogLevel.Warn,
        "INFO" => LogLevel.Info,
        "DEBUG" => LogLevel.Debug,
        "TRACE" => LogLevel.Trace,
        _ => null,
    };

    /// <summary>Changes what is said; the level goes back to Info where nothing is.</summary>
    /// <exception cref="Vmm.VmmException">The level is none, or the file cannot be written.</exception>
    public void Configure(LoggerBody logger)
    {
        var level = logger.Level is { } text
            ? LevelOf(text) ?? throw Body.Wrong($"level is {VisibleText.Quote(text, 40)}, not one of Off, Error, Warning, Info, Debug, Trace")
            : LogLevel.Info;
        var file = logger.LogPath is { } path ? new LineFile(path) : null;
        lock (_gate)
        {
            _level = level;
            _showsLevel = logger.ShowLevel ?? _showsLevel;
            _showsOrigin = logger.ShowLogOrigin ?? _showsOrigin;
            _module = logger.Module ?? _module;
            if (file is null)
                return;
            _file?.Dispose();
            _file = file;
        }
    }

    /// <summary>Logs a line.</summary>
    /// <param name="level">How much it matters.</param>
    /// <param name="message">What happened; line ends and the like are escaped.</param>
    /// <param name="module">What of the program says so.</param>
    public void Write(LogLevel level, string message, string module = "vmm")
    {
        lock (_gate)
        {
            if (_file is null || level > _level || (_module is { } wanted && !module.StartsWith(wanted, StringComparison.Ordinal)))
                return;
            string shown = _showsLevel ? $":{level.ToString().ToUpperInvariant()}" : "";
            string origin = _showsOrigin ? $":{module}" : "";
            string line = string.Create(CultureInfo.InvariantCulture,
                $"{time.GetLocalNow():yyyy-MM-dd'T'HH:mm:ss.fffffff}00 [{id}:{module}{shown}{origin}] {VisibleText.Escape(message)}\n");
            _file.Add(Encoding.UTF8.GetBytes(line));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _file?.Dispose();
            _file = null;
        }
    }
}
