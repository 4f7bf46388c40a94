using Kvm.Manager.Pools;
using Kvm.Vmm;

namespace Kvm.Manager.Tests.Pools;

/// <summary>A state folder and folders for pools that are gone after the test.</summary>
internal sealed class TemporaryPool : IDisposable
{
    public TemporaryPool() => Store = new PoolStore(new ManagerOptions { StateFolder = Path.Combine(Root, "state"), RuntimeFolder = Path.Combine(Root, "run"), Program = "" });

    public string Root { get; } = Directory.CreateTempSubdirectory("kvmsharp-pools-").FullName;

    public PoolStore Store { get; }

    public string Folder(string name = "a") => Path.Combine(Root, name);

    /// <summary>The pool <c>p</c> with one folder.</summary>
    public VolumePool Define(ulong? quota = null) => Store.Define("p", [Folder()], quota);

    public static VolumeName Name(string text) => VolumeName.Parse($"p/{text}");

    /// <summary>Writes bytes to a place of a volume as a guest does, and flushes them.</summary>
    public static void Write(VolumePool pool, string volume, ulong position, byte value, int count = 4096)
    {
        using var disk = Disk(pool, volume, readOnly: false);
        disk.Write(position, [.. Enumerable.Repeat(value, count)]);
    }

    /// <summary>The byte at a place of a volume or snapshot.</summary>
    public static byte Read(VolumePool pool, string volume, ulong position)
    {
        using var disk = Disk(pool, volume, readOnly: true);
        return disk.Read(position, 1)[0];
    }

    public static TestDisk Disk(VolumePool pool, string volume, bool readOnly)
    {
        var (path, format) = pool.Locate(Name(volume))!.Value;
        return new TestDisk(new Kvm.Vmm.Storage.DiskConfig { Path = path, Format = format, AllowBacking = true, ReadOnly = readOnly });
    }

    public static void Refused(Action action, string id, string part)
    {
        var error = FluentActions.Invoking(action).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id, error.Message);
        error.Message.Contains(part, StringComparison.Ordinal).Should().BeTrue(error.Message);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
