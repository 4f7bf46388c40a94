using Kvm.Devices.Block;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Tests.Snapshots.Disks;
using Kvm.Vmm.Tests.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Backup;

/// <summary>Backups of disks that their guest writes meanwhile.</summary>
public sealed class RunningBackupTests
{
    private const int Sectors = (int)(DiskRig.Length / IDiskImage.SectorSize), Chunk = SnapshotFormat.ChunkSize;

    [Theory]
    [InlineData("a.img", 1)]
    [InlineData("a.qcow2", 2)]
    [InlineData("a.qcow2", 3)]
    public void Each_backup_is_the_disk_of_one_moment_whatever_the_guest_writes_meanwhile(string name, int seed)
    {
        using var rig = new DiskRig(name);
        using var machine = new RunningDisk(rig);
        byte[] expected = [];
        machine.AtMoment = () => expected = machine.Everything();
        using var stop = new CancellationTokenSource();
        long written = 0;
        var guest = new Thread(() =>
        {
            var random = new Random(seed);
            for (int i = 0; !stop.IsCancellationRequested; i++)
            {
                machine.Write((ulong)(random.Next(Sectors) * IDiskImage.SectorSize), (byte)i);
                Interlocked.Increment(ref written);
            }
        });
        guest.Start();
        try
        {
            for (int round = 0; round < 12; round++)
            {
                long until = Interlocked.Read(ref written) + 20;
                SpinWait.SpinUntil(() => Interlocked.Read(ref written) > until, TimeSpan.FromSeconds(60)).Should().BeTrue();
                machine.Take(rig.Store, $"b{round}");
                RunningDisk.ContentOf(rig.Store, $"b{round}").AsSpan().SequenceEqual(expected).Should().BeTrue($"backup {round}");
            }
        }
        finally
        {
            stop.Cancel();
            guest.Join();
        }

        rig.Store.Verify([], 2).Problems.Should().BeEmpty();
        // Each stands alone.
        rig.Store.Remove([.. Enumerable.Range(0, 11).Select(i => $"b{i}")]);
        rig.Store.Prune();
        RunningDisk.ContentOf(rig.Store, "b11").AsSpan().SequenceEqual(expected).Should().BeTrue();
    }

    [Fact]
    public void Only_what_was_changed_is_read_and_stored_after_the_first()
    {
        using var rig = new DiskRig("a.img");
        using var machine = new RunningDisk(rig);
        machine.Write(0, 1);
        machine.Write(5 * Chunk, 2);
        machine.Take(rig.Store, "one").DiskBytes.Should().BeInRange(2 * Chunk, (long)DiskRig.Length);
        machine.Write((7 * Chunk) + 512, 3);
        var two = machine.Take(rig.Store, "two");
        (two.DiskBytes, two.Parent).Should().Be((Chunk, null));
        machine.Take(rig.Store, "three").DiskBytes.Should().Be(0);
        foreach (string name in (string[])["two", "three"])
            RunningDisk.ContentOf(rig.Store, name).AsSpan().SequenceEqual(machine.Everything()).Should().BeTrue(name);
    }

    [Fact]
    public void A_base_that_is_gone_or_elsewhere_has_all_read_again()
    {
        using var rig = new DiskRig("a.qcow2");
        using var machine = new RunningDisk(rig);
        machine.Write(0, 1);
        machine.Take(rig.Store, "one");
        rig.Store.Remove(["one"]);
        machine.Write(3 * Chunk, 2);
        machine.Take(rig.Store, "two").DiskBytes.Should().Be(2 * Chunk);
        var other = SnapshotStore.Open(rig.At("other"));
        machine.Take(other, "three").DiskBytes.Should().Be(2 * Chunk);
        RunningDisk.ContentOf(other, "three").AsSpan().SequenceEqual(machine.Everything()).Should().BeTrue();
    }

    [Fact]
    public void Whatever_change_of_the_store_fails_the_next_backup_misses_nothing_and_the_guest_goes_on()
    {
        using var rig = new DiskRig("a.img");
        using var machine = new RunningDisk(rig);
        machine.Write(0, 1);
        machine.Take(rig.Store, "first");
        for (int failAt = 1; failAt < 100; failAt++)
        {
            machine.Write((ulong)(failAt % 16 * Chunk), (byte)failAt);
            var files = new FaultyFiles(failAt, forGood: true);
            var faulty = SnapshotStore.Open(rig.At("store"), null, files);
            var failure = Record.Exception(() => machine.Take(faulty, $"b{failAt}"));
            machine.Write(15 * Chunk, (byte)failAt);
            rig.Disk.Watch!.Should().NotBeNull();
            if (failure is not null)
                failure.Should().BeOfType<VmmException>();
            machine.Take(rig.Store, $"c{failAt}");
            RunningDisk.ContentOf(rig.Store, $"c{failAt}").AsSpan().SequenceEqual(machine.Everything()).Should().BeTrue($"after the fault at change {failAt}");
            RunningDisk.ContentOf(rig.Store, "first")[0].Should().Be(1);
            if (!files.HasFailed)
                return;
        }

        Assert.Fail("a backup has more changes than it can have");
    }

    [Fact]
    public void A_guest_that_waits_for_room_goes_on_when_blocks_are_packed_and_when_the_backup_is_given_up()
    {
        const long blocks = MomentReader.MostAside + 8;
        using var image = new WatchedImage(new ZeroImage((ulong)blocks * Chunk));
        var region = new SnapshotRegion("disk:disk0", 0, (ulong)blocks * Chunk);
        foreach (bool givesUp in (bool[])[false, true])
        {
            using var reader = new MomentReader();
            var moment = new DiskMoment(reader, image, region, 0);
            reader.Add(moment);
            for (long block = 0; block < blocks; block++)
                moment.Need(block);
            // Room for all but the last ones: these wait.
            moment.Changing(0, MomentReader.MostAside - 1);
            var guest = new Thread(() => moment.Changing(MomentReader.MostAside, blocks - 1));
            guest.Start();
            SpinWait.SpinUntil(() => guest.ThreadState.HasFlag(ThreadState.WaitSleepJoin), TimeSpan.FromSeconds(60)).Should().BeTrue();
            var packed = new List<long>();
            if (givesUp)
                reader.GiveUp();
            else
                reader.Read((_, block, _) => packed.Add(block));
            guest.Join(TimeSpan.FromSeconds(60)).Should().BeTrue();
            if (!givesUp)
            {
                reader.Read((_, block, _) => packed.Add(block));
                packed.Should().BeEquivalentTo(Enumerable.Range(0, (int)blocks).Select(b => (long)b), "each was read once");
            }
        }
    }

    [Fact]
    public void A_disk_that_cannot_be_read_fails_the_backup_and_not_the_guest()
    {
        using var image = new WatchedImage(new ZeroImage(4 * Chunk) { Fails = true });
        using var reader = new MomentReader();
        var moment = new DiskMoment(reader, image, new SnapshotRegion("disk:disk0", 0, 4 * Chunk), 0);
        reader.Add(moment);
        for (long block = 0; block < 4; block++)
            moment.Need(block);
        moment.Changing(0, 1);
        reader.Invoking(r => r.Read((_, _, _) => { })).Should().Throw<VmmException>().Which.Error.Should().Be(Kvm.Vmm.Storage.Tools.DiskToolErrors.ReadFailed);
        moment.Changing(2, 3);
    }

    private sealed class ZeroImage(ulong length) : IDiskImage
    {
        public bool Fails { get; init; }

        public ulong Length => length;

        public bool IsReadOnly => false;

        public int BlockSize => 512;

        public int PhysicalBlockSize => 4096;

        public bool CanDiscard => false;

        public uint MaxZeroes => 1 << 20;

        public DiskResult Read(ulong position, ReadOnlySpan<Kvm.Devices.Memory.HostBuffer> buffers) => Fails ? DiskResult.Failed : DiskResult.Done;

        public DiskResult Write(ulong position, ReadOnlySpan<Kvm.Devices.Memory.HostBuffer> buffers) => DiskResult.Done;

        public DiskResult Flush() => DiskResult.Done;

        public DiskResult Discard(ulong position, ulong length) => DiskResult.Done;

        public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap) => DiskResult.Done;

        public void Dispose()
        {
        }
    }
}
