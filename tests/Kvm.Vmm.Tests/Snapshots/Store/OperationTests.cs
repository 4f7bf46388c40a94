using Kvm.Interop;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>What is done with snapshots that are there: listed, merged, removed, pruned, verified, exported, imported.</summary>
public sealed class OperationTests
{
    private static readonly SnapshotOptions s_onA = new() { Parent = "a" };

    [Fact]
    public void A_list_names_each_with_its_parent_and_what_is_wrong()
    {
        using var test = new TestStore();
        test.Save("a", 1, 2);
        TestStore.Save(test.Store, "b", [3], s_onA);
        File.WriteAllBytes(test.PathOf("broken"), [1, 2, 3]);
        var list = test.Store.List();
        list.Select(i => i.Name).Should().Equal("a", "b", "broken");
        list[0].Should().Match<SnapshotInfo>(i => i.Parent == null && i.Problem == null && i.Bytes == TestStore.Low.Length + TestStore.High.Length && i.Note == "a of 2");
        list[1].Parent.Should().Be("a");
        list[2].Problem.Should().Contain("3 bytes");
    }

    [Fact]
    public void A_list_without_the_key_still_names_encrypted_ones()
    {
        using var test = new TestStore(TestStore.KeyOf(1));
        test.Save("a", 1, 2);
        SnapshotStore.Open(test.Folder).List().Should().ContainSingle().Which.Should().Match<SnapshotInfo>(i => i.IsEncrypted && i.Purpose == null && i.Problem == null && i.Bytes == 0);
        test.Store.List()[0].Purpose.Should().Be(SnapshotPurpose.Snapshot);
    }

    [Fact]
    public void Sizes_tell_zeros_equal_chunks_packing_and_sharing()
    {
        using var test = new TestStore();
        TestStore.Save(test.Store, "a", [1, 1, 3, 0], new SnapshotOptions { Compression = SnapshotCompression.None });
        TestStore.Save(test.Store, "b", [3, 5], new SnapshotOptions { Compression = SnapshotCompression.None });
        var sizes = test.Store.Inspect("a").Sizes;
        const ulong chunk = SnapshotFormat.ChunkSize;
        sizes.Should().Be(new SnapshotSizes { Logical = TestStore.Low.Length + TestStore.High.Length, Zero = TestStore.Low.Length + TestStore.High.Length - 3 * chunk, Content = 3 * chunk, Distinct = 2 * chunk, Stored = 2 * chunk, Shared = chunk });
        sizes.DedupeRatio.Should().Be(1.5);
        sizes.CompressionRatio.Should().Be(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_merged_snapshot_reads_the_same_and_stands_alone(bool encrypted)
    {
        using var test = new TestStore(encrypted ? TestStore.KeyOf(4) : null);
        test.Save("a", 1, 3, 5, 7);
        byte[] page = TestStore.Chunk(21, SnapshotFormat.PageSize), patched = TestStore.Chunk(3);
        page.CopyTo(patched, 2 * SnapshotFormat.PageSize);
        using (var writer = test.Store.Begin("b", [TestStore.Low, TestStore.High], s_onA))
        {
            writer.PutPages(0, 1, 1 << 2, page);
            writer.PutChunk(0, 0, TestStore.Chunk(0));
            writer.PutChunk(1, 0, TestStore.Chunk(9));
            writer.Finish(TestStore.Content());
        }

        string identity = test.Store.List()[1].Identity;
        TestStore.Save(test.Store, "c", [11], new SnapshotOptions { Parent = "b" });
        test.Store.Merge("b").Should().Be(2);
        test.Store.Merge("b").Should().Be(1);
        test.Store.List()[1].Should().Match<SnapshotInfo>(i => i.Parent == null && i.Identity == identity);
        using (var reader = test.Store.Read("b"))
        {
            byte[] content = new byte[SnapshotFormat.ChunkSize];
            reader.ReadChunk(0, 1, content).Should().Be(ChunkStatus.Ok);
            content.AsSpan().SequenceEqual(patched).Should().BeTrue();
        }

        test.Store.Remove(["a"]);
        test.Store.Prune();
        TestStore.ShouldHold(test.Store, "c", 11);
        using var last = test.Store.Read("c");
        last.IsZero(0, 0).Should().BeFalse();
        last.IsZero(0, 4).Should().BeTrue();
        test.Store.Verify([], 2).Problems.Should().BeEmpty();
    }

    [Fact]
    public void A_snapshot_that_others_are_based_on_is_removed_with_them_alone()
    {
        using var test = new TestStore();
        test.Save("a", 1);
        TestStore.Save(test.Store, "b", [3], s_onA);
        Action remove = () => test.Store.Remove(["a"]);
        remove.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.HasChildren);
        test.ShouldHold("b", 3);
        test.Store.Remove(["a", "b"]);
        test.Store.List().Should().BeEmpty();
        test.PackFiles.Should().BeEmpty();
    }

    [Fact]
    public void A_damaged_snapshot_can_be_removed()
    {
        using var test = new TestStore();
        File.WriteAllBytes(Make(test, "x"), [1, 2, 3]);
        test.Store.Remove(["x"]);
        test.Store.List().Should().BeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Pruning_gives_back_what_removed_snapshots_needed_alone(bool encrypted)
    {
        using var test = new TestStore(encrypted ? TestStore.KeyOf(4) : null);
        test.Save("a", 1, 3, 5, 7, 9, 11);
        test.Save("b", 7);
        test.Store.Remove(["a"]);
        test.PackFiles.Should().ContainSingle();
        var pruning = test.Store.Prune();
        pruning.PacksRewritten.Should().Be(1);
        pruning.BytesAfter.Should().BeInRange(SnapshotFormat.ChunkSize, SnapshotFormat.ChunkSize + 1024).And.BeLessThan(pruning.BytesBefore / 4);
        test.ShouldHold("b", 7);
        test.Store.Prune().PacksRewritten.Should().Be(0);
    }

    [Fact]
    public void Pruning_makes_one_pack_of_many_small_ones()
    {
        using var test = new TestStore();
        for (int i = 1; i <= 6; i++)
            test.Save($"s{i}", 2 * i, 2 * i + 1);
        test.PackFiles.Should().HaveCount(6);
        test.Store.Prune().PacksRewritten.Should().Be(6);
        test.PackFiles.Should().ContainSingle();
        for (int i = 1; i <= 6; i++)
            test.ShouldHold($"s{i}", 2 * i, 2 * i + 1);
        Directory.GetFiles(test.Folder, "*.part", SearchOption.AllDirectories).Should().BeEmpty();
    }

    [Fact]
    public void Pruning_leaves_alone_what_an_encrypted_snapshot_may_need()
    {
        using var test = new TestStore(TestStore.KeyOf(1));
        test.Save("a", 1, 3, 5, 7, 9, 11);
        test.Save("b", 7);
        test.Store.Remove(["a"]);
        var plain = SnapshotStore.Open(test.Folder);
        plain.Prune().Should().Match<SnapshotPruning>(p => p.PacksRewritten == 0 && p.BytesAfter == p.BytesBefore);
        test.ShouldHold("b", 7);
    }

    [Fact]
    public void Verifying_names_the_damaged_place_and_its_snapshot()
    {
        using var test = new TestStore();
        TestStore.Save(test.Store, "a", [1, 3, 5], new SnapshotOptions { Compression = SnapshotCompression.None });
        test.Store.Verify([], 2).Should().Match<SnapshotVerification>(v => v.Problems.Count == 0 && v.Chunks == 3 && v.Bytes == 3UL * SnapshotFormat.ChunkSize);
        using (var pack = new FileStream(test.PackFiles[0], FileMode.Open))
        {
            pack.Position = 96 + SnapshotFormat.ChunkSize + 5;
            pack.WriteByte((byte)(pack.ReadByte() + 1));
        }

        test.Store.Verify(["a"], 2).Problems.Should().ContainSingle().Which.Should().Contain("a: 'ram' at 10000");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_exported_snapshot_is_whole_without_its_store(bool encrypted)
    {
        var key = encrypted ? TestStore.KeyOf(1) : null;
        using var test = new TestStore(key);
        using var other = new TestStore(key);
        test.Save("a", 1, 3, 5, 7);
        TestStore.Save(test.Store, "b", [2, 0], s_onA);
        string file = Path.Combine(test.Folder, "b.kvmsnap");
        test.Store.Export("b", file, SnapshotCompression.Zstd, 2);
        SnapshotStore.VerifyFile(file, key, 2).Problems.Should().BeEmpty();
        SnapshotStore.InspectFile(file, key).Info.Name.Should().Be("b");
        other.Store.Import(file, null, SnapshotCompression.Lz4, 2).Should().Be("b");
        other.ShouldHold("b", 2, 0, 5, 7, 0, 0, 0, 0, 0);
        other.Store.List()[0].Identity.Should().Be(test.Store.List()[1].Identity);
        other.Store.Read("b").Content.Note.Should().Be("b of 2");
        Action again = () => other.Store.Import(file, "c", SnapshotCompression.Lz4, 2);
        again.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Exists);
        Action over = () => test.Store.Export("b", file, SnapshotCompression.Lz4, 1);
        over.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Exists);
    }

    [Fact]
    public void Who_saves_and_who_removes_exclude_one_another()
    {
        using var test = new TestStore();
        test.Save("a", 1);
        using (test.Store.Begin("b", [TestStore.Low]))
        using (test.Store.Begin("c", [TestStore.Low]))
        {
            Action prune = () => SnapshotStore.Open(test.Folder, null, HostStoreFiles.Instance, TimeSpan.Zero).Prune();
            prune.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Busy);
        }

        using (LockFile.Acquire(Path.Combine(test.Folder, "lock")))
        {
            Action save = () => SnapshotStore.Open(test.Folder, null, HostStoreFiles.Instance, TimeSpan.Zero).Begin("b", [TestStore.Low]);
            save.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Busy);
            test.ShouldHold("a", 1);
        }

        test.Store.Prune();
    }

    [Fact]
    public async Task Who_saves_while_the_store_is_swept_waits_for_that()
    {
        using var test = new TestStore();
        test.Save("a", 1);
        var sweeper = LockFile.Acquire(Path.Combine(test.Folder, "lock"));
        var saving = Task.Factory.StartNew(
            () => TestStore.Save(SnapshotStore.Open(test.Folder, null, HostStoreFiles.Instance, TimeSpan.FromMinutes(2)), "b", [3]),
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        sweeper.Dispose();
        await saving;
        test.ShouldHold("b", 3);
    }

    [Fact]
    public void Two_who_save_under_one_name_get_one_snapshot()
    {
        using var test = new TestStore();
        using var first = test.Store.Begin("a", [TestStore.Low]);
        using var second = test.Store.Begin("a", [TestStore.Low]);
        first.PutChunk(0, 0, TestStore.Chunk(1));
        second.PutChunk(0, 0, TestStore.Chunk(3));
        second.Finish(TestStore.Content());
        Action finish = () => first.Finish(TestStore.Content());
        finish.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Exists);
        test.ShouldHold("a", 3);
        test.PackFiles.Should().ContainSingle();
    }

    [Fact]
    public void A_snapshot_that_is_being_read_may_be_removed()
    {
        using var test = new TestStore();
        test.Save("a", 1);
        using var reader = test.Store.Read("a");
        test.Store.Remove(["a"]);
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        reader.ReadChunk(0, 0, content).Should().Be(ChunkStatus.Ok);
        content.AsSpan().SequenceEqual(TestStore.Chunk(1)).Should().BeTrue();
    }

    [Fact]
    public void Reading_a_chunk_allocates_nothing()
    {
        using var test = new TestStore();
        test.Save("a", 2);
        using var reader = test.Store.Read("a");
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        Allocation.Of(_ => reader.ReadChunk(0, 0, content), 1000).Should().Be(0);
    }

    private static string Make(TestStore test, string name)
    {
        Directory.CreateDirectory(test.Folder);
        return test.PathOf(name);
    }
}
