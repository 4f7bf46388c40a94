using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Disks;

/// <summary>What becomes of a machine's disks in a snapshot: one object for each that is taken.</summary>
internal interface IDisksAtMoment : IDisposable
{
    /// <summary>How each disk is kept.</summary>
    IReadOnlyList<DiskKept> Kept { get; }

    /// <summary>Bytes that are read from the disks.</summary>
    long BytesRead => 0;

    /// <summary>Does what takes long. While the guest runs.</summary>
    void Prepare();

    /// <summary>Keeps the disks as they are now. While the machine stands still.</summary>
    /// <param name="content">Gives the rest of the snapshot's content; to be asked once.</param>
    /// <returns>The content with what tells of the disks.</returns>
    SnapshotContent Keep(Func<SnapshotContent> content);

    /// <summary>Does what is left before the snapshot has its name. While the guest runs again.</summary>
    void Complete();

    /// <summary>The snapshot is there. Without it what was made is removed, as far as no disk needs it.</summary>
    void Finish();
}
