using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>How a disk's content of a snapshot's moment is kept.</summary>
public enum DiskKeeping : byte
{
    /// <summary>Not at all: it is known by its generation, and the snapshot can be restored until the disk is written.</summary>
    Generation,

    /// <summary>The file that the disk was is not written any more; the disk is an overlay over it.</summary>
    Overlay,

    /// <summary>A copy of the file that shares its storage (reflink), in the store.</summary>
    Reflink,
}

/// <summary>A disk's content of a snapshot's moment, in a file that nobody writes.</summary>
/// <param name="Name">The disk.</param>
/// <param name="Keeping">How: an overlay or a reflink.</param>
/// <param name="Path">The file; of a reflink its name in the store.</param>
/// <param name="Format">What it is.</param>
/// <param name="Generation">Which content it has.</param>
internal sealed record KeptDisk(string Name, DiskKeeping Keeping, string Path, DiskFormat Format, string Generation)
{
    /// <summary>The record that tells of kept disks.</summary>
    public const string RecordName = "disks";

    private const ushort Version = 1;
    private const int MostDisks = 256, MostText = 8192;

    /// <summary>The record; none where nothing is kept.</summary>
    public static IEnumerable<SnapshotRecord> Write(IReadOnlyList<KeptDisk> disks)
    {
        if (disks.Count == 0)
            return [];
        var writer = new StateWriter();
        writer.U16((ushort)disks.Count);
        foreach (var disk in disks)
        {
            ManifestText.Write(writer, disk.Name);
            writer.U8((byte)disk.Keeping);
            ManifestText.Write(writer, disk.Path);
            writer.U8((byte)disk.Format);
            ManifestText.Write(writer, disk.Generation);
        }

        return [new SnapshotRecord(RecordName, Version, writer.Written.ToArray())];
    }

    /// <summary>The disks that a snapshot's record tells of.</summary>
    /// <exception cref="VmmException">It is none, or of a later version.</exception>
    public static IReadOnlyList<KeptDisk> Read(IReadOnlyList<SnapshotRecord> records)
    {
        if (records.FirstOrDefault(r => r.Name == RecordName) is not { } record)
            return [];
        if (record.Version > Version)
            throw new VmmException(RestoreErrors.LaterState, $"{RecordName}: version {record.Version}, known up to {Version}");
        try
        {
            var reader = new StateReader(record.Bytes.Span);
            int count = reader.U16();
            List<KeptDisk> disks = [];
            for (int i = 0; i < count && count <= MostDisks && !reader.Failed; i++)
            {
                disks.Add(new KeptDisk(ManifestText.Read(ref reader, MostText, RecordName), (DiskKeeping)reader.U8(), ManifestText.Read(ref reader, MostText, RecordName),
                    (DiskFormat)reader.U8(), ManifestText.Read(ref reader, MostText, RecordName)));
            }

            if (reader.Complete && disks.Count == count && disks.All(d => d.Keeping is DiskKeeping.Overlay or DiskKeeping.Reflink && d.Format is DiskFormat.Raw or DiskFormat.Qcow2))
                return disks;
        }
        catch (StoreFault)
        {
            // A text that is none: as below.
        }

        throw new VmmException(RestoreErrors.BadState, $"the record of {RecordName} is not one");
    }
}
