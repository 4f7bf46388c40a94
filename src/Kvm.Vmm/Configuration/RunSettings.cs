using Kvm.Vmm.Virtio.Ports;

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

    /// <summary>Where a debugger is waited for, or null for none.</summary>
    public Debugging.Gdb.GdbEndpoint? Gdb { get; init; }

    /// <summary>What the guest is to its scheduler.</summary>
    public SchedulingSettings Scheduling { get; init; } = new();

    /// <summary>Takes a console as the command line and the configuration file write it; what the text leaves out stays as it is.</summary>
    /// <param name="text"><c>stdio</c>, <c>none</c> or <c>file=FILE</c>; <c>serial</c> or <c>virtio</c>; or both with a comma between.</param>
    /// <returns>The settings, or null where the text is none of these.</returns>
    public RunSettings? WithConsole(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        // The device first: a file's name may have commas.
        string[] parts = text.Split(',', 2);
        int device = SettingNames.IndexOf(SettingNames.GuestConsoles, parts[0]);
        if (device < 0)
            return WithTarget(text);
        var settings = this with { Machine = Machine with { Console = (GuestConsole)device } };
        return parts.Length == 1 ? settings : settings.WithTarget(parts[1]);
    }

    /// <summary>The console as <see cref="WithConsole"/> understands it.</summary>
    public string ConsoleText => $"{SettingNames.Of(Machine.Console)},{TargetText}";

    /// <summary>The same with every path from the root on, so that it means the same files in whatever folder it is read.</summary>
    public RunSettings WithAbsolutePaths() => this with
    {
        ConsolePath = Absolute(ConsolePath),
        ReportPath = Absolute(ReportPath),
        TranslationsPath = Absolute(TranslationsPath),
        Machine = Machine with
        {
            KernelPath = Absolute(Machine.KernelPath)!,
            InitrdPath = Absolute(Machine.InitrdPath),
            Disks = [.. Machine.Disks.Select(disk => disk.Volume is null ? disk with { Path = Absolute(disk.Path)! } : disk)],
            Ports = [.. Machine.Ports.Select(port => port with { SocketPath = Absolute(port.SocketPath)! })],
            Networks = [.. Machine.Networks.Select(card => card with { Model = Absolute(card.Model) })],
            Vsock = Machine.Vsock is { } vsock ? vsock with { SocketPath = Absolute(vsock.SocketPath)! } : null,
            Capture = Machine.Capture is { } capture ? capture with { Path = Absolute(capture.Path)! } : null,
            Metadata = Machine.Metadata is { } metadata ? metadata with { Path = Absolute(metadata.Path) } : null,
        },
    };

    private static string? Absolute(string? path) => string.IsNullOrEmpty(path) ? path : Path.GetFullPath(path);

    private string TargetText => Console switch
    {
        ConsoleKind.File => $"file={ConsolePath}",
        ConsoleKind.None => "none",
        _ => "stdio",
    };

    private RunSettings? WithTarget(string text)
    {
        const string filePrefix = "file=";
        if (text.StartsWith(filePrefix, StringComparison.Ordinal) && text.Length > filePrefix.Length)
            return this with { Console = ConsoleKind.File, ConsolePath = text[filePrefix.Length..] };
        return text switch
        {
            "none" => this with { Console = ConsoleKind.None, ConsolePath = null },
            "stdio" => this with { Console = ConsoleKind.Stdio, ConsolePath = null },
            _ => null,
        };
    }
}
