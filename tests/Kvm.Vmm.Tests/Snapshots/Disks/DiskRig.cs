using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Snapshots.Disks;

/// <summary>A disk as a machine has it, without the machine, in a folder with a store.</summary>
internal sealed class DiskRig : IDisposable
{
    public const ulong Length = 1 << 20;

    private readonly string _folder;

    public DiskRig(string name, bool allowBacking = true, string? parent = null, string? volume = null)
    {
        _folder = Path.Combine(parent ?? Path.GetTempPath(), $"kvmsharp-disks-{Guid.NewGuid():n}");
        Directory.CreateDirectory(_folder);
        Config = new DiskConfig { Path = At(name), Format = DiskConfig.FormatByName(name), AllowBacking = allowBacking && name.EndsWith(".qcow2", StringComparison.Ordinal), Volume = volume };
        using (var image = NewImage.Begin(new ImageName(Config.Path, ImageName.FormatByName(name)), Length, new ImageOptions(), force: false))
            image.Finish();
        Open();
    }

    public DiskConfig Config { get; }

    public VmConfig Machine => new() { KernelPath = "/kernel", Disks = [Config] };

    public MachineDisk Disk { get; private set; } = null!;

    public SnapshotStore Store => SnapshotStore.Open(At("store"));

    public IReadOnlyList<string> Files => [.. Directory.GetFiles(_folder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];

    public string At(string name) => Path.Combine(_folder, name);

    public void Open()
    {
        var (image, file) = DiskOpener.Open(Config);
        Disk = new MachineDisk(MachineDisk.NameOf(0), Config, new WatchedImage(image), file, null);
    }

    public void Close() => Disk.Image.Dispose();

    public void Reopen()
    {
        Close();
        Open();
    }

    public void Write(ulong position, byte value) => Write(Disk.Image, position, value);

    public byte Read(ulong position) => Read(Disk.Image, position);

    public static void Write(IDiskImage image, ulong position, byte value)
    {
        using var buffer = new AlignedBuffer(IDiskImage.SectorSize);
        buffer.Buffer.Span.Fill(value);
        var part = buffer.Buffer;
        image.Write(position, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
    }

    public static byte Read(IDiskImage image, ulong position)
    {
        using var buffer = new AlignedBuffer(IDiskImage.SectorSize);
        var part = buffer.Buffer;
        image.Read(position, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        return part.Span[0];
    }

    /// <summary>A snapshot of the disk, with a page of memory.</summary>
    public IReadOnlyList<DiskKept> Take(string name, bool finishes = true)
    {
        using var writer = Store.Begin(name, [new SnapshotRegion("ram", 0, SnapshotFormat.PageSize)]);
        using var keeper = new DiskKeeper([Disk], Store.Folder, name, writer.Identity);
        keeper.Prepare();
        var content = keeper.Keep(() => new SnapshotContent { Disks = DiskGenerations.Of(Machine) });
        keeper.Complete();
        if (finishes)
        {
            writer.Finish(content);
            keeper.Finish();
        }

        return keeper.Kept;
    }

    /// <summary>What stands in the way of going on from a snapshot with the disks as they are.</summary>
    public string? Refusal(string name)
    {
        using var reader = Store.Read(name);
        var report = new RestoreReport(allowDifferences: false);
        DiskGenerations.Check(reader.Content.Disks, Machine, report);
        return Record.Exception(report.Check)?.Message;
    }

    /// <summary>Puts the closed disk back; gives the file of what it was until then, or why it cannot be.</summary>
    public (string? Until, string? Refusal) PutBack(string name)
    {
        using var reader = Store.Read(name);
        var report = new RestoreReport(allowDifferences: false);
        var returning = DiskReturn.Find(reader, Machine, report);
        if (Record.Exception(report.Check) is { } refused)
            return (null, refused.Message);
        string? until = null;
        foreach (var disk in returning)
            until = DiskReturn.PutBack(disk, name);
        return (until, null);
    }

    public void Dispose()
    {
        Close();
        Directory.Delete(_folder, recursive: true);
    }
}
