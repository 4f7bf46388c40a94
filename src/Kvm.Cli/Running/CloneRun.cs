using System.Globalization;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Cli.Running;

/// <summary><c>run --from</c>: a guest in the foreground that goes on from a template. What it writes to its disks is gone when it ends.</summary>
internal static class CloneRun
{
    /// <summary>The template, in memory.</summary>
    public static Template Open(string name) => TemplateHolder.Get(
        SnapshotStore.Open(Folders.SnapshotsOf(Folders.State)), name, Folders.Runtime,
        Environment.ProcessPath ?? throw new VmmException(RestoreErrors.NotHeld, "this program does not know its own path"));

    /// <summary>What a SOURCE is cloned from: the snapshot of that name, or where there is none and a guest of that name runs, one that is taken of it now, which is said.</summary>
    /// <returns>The snapshot's name.</returns>
    /// <exception cref="VmmException">The guest cannot be saved.</exception>
    public static string SnapshotOf(string source)
    {
        string store = Folders.SnapshotsOf(Folders.State);
        if (!ControlClient.Names(Folders.Runtime).Contains(source) || SnapshotStore.Open(store).List().Any(info => info.Name == source))
            return source;
        string name = string.Create(CultureInfo.InvariantCulture, $"{source}-{DateTime.UtcNow:yyyyMMdd-HHmmss-fff}");
        StandardStreams.Error($"kvmsharp: {source} runs; it is cloned from a snapshot taken now: {SnapshotCreation.Text(SnapshotCreation.Take(source, name, store, incremental: false, SnapshotCompression.Lz4, key: null))}");
        return name;
    }

    /// <summary>Runs it to its end.</summary>
    /// <param name="template">What it goes on from.</param>
    /// <param name="settings">The template's configuration with what the command line changes.</param>
    /// <param name="name">Its name, or null for one of nobody's.</param>
    /// <param name="global">The options of every verb.</param>
    /// <returns>The exit code.</returns>
    public static int Run(Template template, RunSettings settings, string? name, GlobalOptions global)
    {
        name ??= string.Create(CultureInfo.InvariantCulture, $"{template.Name}-{Environment.ProcessId}");
        string folder = Path.Combine(Folders.State, "clones", name);
        try
        {
            var (clone, changes) = CloneIdentity.Make(settings, template.Content, name, folder, Folders.Runtime);
            if (global.Verbose)
            {
                foreach (var change in changes)
                    StandardStreams.Error($"kvmsharp: {VisibleText.Escape(change.What)}: {VisibleText.Escape(change.To)}{(change.From.Length > 0 ? $", not {VisibleText.Escape(change.From)}" : "")}\n");
            }

            clone = clone with { ReportPath = settings.ReportPath, TranslationsPath = settings.TranslationsPath, Gdb = settings.Gdb };
            using var session = new RunSession(clone, global, build: (config, host) => VirtualMachine.Restore(config, host, template, new RestoreOptions { IsClone = true })) { Changes = changes };
            return session.Run();
        }
        finally
        {
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        }
    }
}
