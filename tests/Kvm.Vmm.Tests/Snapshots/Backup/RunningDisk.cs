using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Tests.Snapshots.Disks;

namespace Kvm.Vmm.Tests.Snapshots.Backup;

/// <summary>A machine of one disk and no memory, whose guest is the test: it writes under a gate, which standing still takes.</summary>
internal sealed class RunningDisk(DiskRig rig) : ISnapshotSource, IDisposable
{
    private readonly AlignedBuffer _ram = new(4096);
    private readonly Lock _gate = new();
    private SnapshotTaker? _taker;

    /// <summary>Called while the machine stands still.</summary>
    public Action? AtMoment { get; set; }

    public IReadOnlyList<MachineDisk> Disks => [rig.Disk];

    public void StartDirtyTracking()
    {
    }

    public void StopDirtyTracking()
    {
    }

    public void CollectDirty(ICollection<ulong> pages)
    {
    }

    public TimeSpan StandStill(Action what)
    {
        lock (_gate)
        {
            what();
            AtMoment?.Invoke();
            return TimeSpan.FromTicks(1);
        }
    }

    public SnapshotContent Content(bool state) => new();

    /// <summary>What the guest does: in one piece, and not while it stands still.</summary>
    public void Write(ulong position, byte value)
    {
        lock (_gate)
            rig.Write(position, value);
    }

    public byte[] Everything()
    {
        byte[] all = new byte[DiskRig.Length];
        using var buffer = new AlignedBuffer((int)DiskRig.Length);
        var part = buffer.Buffer;
        rig.Disk.Image.Read(0, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        part.Span.CopyTo(all);
        return all;
    }

    public SnapshotTaken Take(SnapshotStore store, string name) =>
        (_taker ??= new SnapshotTaker(new GuestMemory([new GuestRegion(0, 4096, _ram.Buffer.Address)]), this)).Take(store, name,
            new SnapshotTakeOptions { DiskContents = true, Memory = false, Purpose = SnapshotPurpose.Backup, Threads = 2 });

    public void Dispose() => _ram.Dispose();

    /// <summary>The disk as a backup has it.</summary>
    public static byte[] ContentOf(SnapshotStore store, string name)
    {
        using var reader = store.Read(name);
        byte[] all = new byte[DiskRig.Length];
        for (long chunk = 0; chunk < reader.Regions[0].ChunkCount; chunk++)
            reader.ReadChunk(0, chunk, all.AsSpan((int)chunk * SnapshotFormat.ChunkSize, reader.Regions[0].ChunkLength(chunk))).Should().Be(ChunkStatus.Ok);
        return all;
    }
}
