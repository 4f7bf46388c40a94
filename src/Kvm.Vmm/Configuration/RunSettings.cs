namespace Kvm.Vmm.Configuration;

/// <summary>Where the guest's console goes.</summary>
public enum ConsoleKind
{
    /// <summary>Standard input and output; a terminal is put into raw mode.</summary>
    Stdio,

    /// <summary>A file, in two rotating halves of at most 64 MiB together; no input.</summary>
    File,

    /// <summary>Nowhere; no input.</summary>
    None,
}

/// <summary>A machine and how it is run: all that the command line or a configuration file says. Immutable.</summary>
public sealed record RunSettings
{
    /// <summary>The machine. <see cref="VmConfig.KernelPath"/> is empty as long as nothing named a kernel.</summary>
    public required VmConfig Machine { get; init; }

    /// <summary>Where the guest's console goes.</summary>
    public ConsoleKind Console { get; init; } = ConsoleKind.Stdio;

    /// <summary>The console's file where <see cref="Console"/> is <see cref="ConsoleKind.File"/>; else null.</summary>
    public string? ConsolePath { get; init; }

    /// <summary>The file that the report is written to, or null for none.</summary>
    public string? ReportPath { get; init; }

    /// <summary>The file that translations are written to, or null for none.</summary>
    public string? TranslationsPath { get; init; }

    /// <summary>Understands a console as the command line and the configuration file write it.</summary>
    /// <param name="text"><c>stdio</c>, <c>none</c> or <c>file=FILE</c>.</param>
    /// <param name="kind">The kind, where the text is one of these.</param>
    /// <param name="path">The file, or null.</param>
    /// <returns>False where the text is none of these.</returns>
    public static bool TryParseConsole(string text, out ConsoleKind kind, out string? path)
    {
        ArgumentNullException.ThrowIfNull(text);
        path = null;
        const string filePrefix = "file=";
        if (text.StartsWith(filePrefix, StringComparison.Ordinal) && text.Length > filePrefix.Length)
        {
            kind = ConsoleKind.File;
            path = text[filePrefix.Length..];
            return true;
        }

        kind = text == "none" ? ConsoleKind.None : ConsoleKind.Stdio;
        return text is "none" or "stdio";
    }

    /// <summary>The console as <see cref="TryParseConsole"/> understands it.</summary>
    public string ConsoleText => Console switch
    {
        ConsoleKind.File => $"file={ConsolePath}",
        ConsoleKind.None => "none",
        _ => "stdio",
    };
}
