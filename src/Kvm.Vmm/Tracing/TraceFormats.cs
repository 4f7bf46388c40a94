namespace Kvm.Vmm.Tracing;

/// <summary>The forms a trace is written in.</summary>
public enum TraceFormat
{
    /// <summary>Lines for people.</summary>
    Text,

    /// <summary>One JSON object a line.</summary>
    Json,

    /// <summary>For chrome://tracing and Perfetto.</summary>
    Chrome,

    /// <summary>What <c>trace --replay</c> reads.</summary>
    Binary,

    /// <summary>A page for a browser, one file.</summary>
    Html,
}

/// <summary>Writes exits in one form, one document. Used by one thread.</summary>
internal interface ITraceFormat : IDisposable
{
    /// <summary>What comes before the first exit.</summary>
    void Begin(TraceOutput output);

    /// <summary>One exit; false if there is no room for it.</summary>
    bool Write(TraceOutput output, in ExitSample sample);

    /// <summary>What comes after the last one.</summary>
    /// <param name="output">Where it goes.</param>
    /// <param name="lost">Exits that are missing.</param>
    void End(TraceOutput output, long lost);

    /// <inheritdoc/>
    /// <remarks>Most forms hold nothing.</remarks>
    void IDisposable.Dispose()
    {
    }
}

/// <summary>The forms by name.</summary>
public static class TraceFormats
{
    /// <summary>Their names, in the order of <see cref="TraceFormat"/>.</summary>
    public static IReadOnlyList<string> Names { get; } = ["text", "json", "chrome", "binary", "html"];

    internal static ITraceFormat Create(TraceFormat format, SymbolTable? symbols) => format switch
    {
        TraceFormat.Json => new JsonTraceFormat(symbols),
        TraceFormat.Chrome => new ChromeTraceFormat(symbols),
        TraceFormat.Binary => new BinaryTraceFormat(),
        TraceFormat.Html => new HtmlTraceFormat(symbols),
        _ => new TextTraceFormat(symbols),
    };
}
