using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>Where machines are kept and what runs them. Immutable.</summary>
public sealed record ManagerOptions
{
    /// <summary>The folder of records, logs and disks of machines.</summary>
    public required string StateFolder { get; init; }

    /// <summary>The folder of sockets.</summary>
    public required string RuntimeFolder { get; init; }

    /// <summary>The program whose verb <c>worker</c> runs a machine; in tests that of the build.</summary>
    public required string Program { get; init; }

    /// <summary>The clock of records and events.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>This user's folders (docs/cli.md, "Folders") and this program.</summary>
    /// <exception cref="IOException">A folder cannot be made, or belongs to somebody else.</exception>
    public static ManagerOptions OfThisUser() => new()
    {
        StateFolder = Path.GetFullPath(Folders.State),
        RuntimeFolder = Path.GetFullPath(Folders.Runtime),
        Program = Environment.ProcessPath ?? throw new VmmException(ManagerErrors.NoWorker, "this program does not know its own path"),
    };
}
