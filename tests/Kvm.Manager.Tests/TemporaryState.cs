using Kvm.Cli.Tests;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Tests;

/// <summary>A state and a runtime folder that are gone after the test, with whatever ran there.</summary>
internal sealed class TemporaryState : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-manager-").FullName;

    public TemporaryState() => Options = new ManagerOptions
    {
        StateFolder = Path.Combine(_folder, "state"),
        RuntimeFolder = Path.Combine(_folder, "run"),
        Program = Published.Executable,
    };

    public ManagerOptions Options { get; }

    public VmManager Manager => new(Options);

    /// <summary>The settings of a tiny machine.</summary>
    public static RunSettings Machine(string name, string kernel = "/nowhere/vmlinux", EngineChoice engine = EngineChoice.Soft) =>
        new() { Machine = new VmConfig { KernelPath = kernel, Name = name, Engine = engine, MemoryBytes = 2 << 20, HugePages = false } };

    public static VmRecord Record(string name) => new()
    {
        Id = Guid.NewGuid().ToString("n"),
        Name = name,
        Created = DateTimeOffset.UnixEpoch,
        Config = VmRecord.ConfigOf(Machine(name)),
    };

    public void Dispose()
    {
        foreach (var entry in Manager.Store.List().Where(entry => entry.Record is not null))
        {
            entry.Record!.Supervisor?.Kill();
            entry.Record.Worker?.Kill();
        }

        Directory.Delete(_folder, recursive: true);
    }
}
