using System.Collections.Concurrent;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>What was saved is what is read.</summary>
public sealed class RoundTripTests
{
    public static TheoryData<SnapshotCompression, bool> Ways => new()
    {
        { SnapshotCompression.None, false }, { SnapshotCompression.Lz4, false }, { SnapshotCompression.Zstd, false },
        { SnapshotCompression.None, true }, { SnapshotCompression.Lz4, true }, { SnapshotCompression.Zstd, true },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_saved_machine_reads_as_it_was(SnapshotCompression compression, bool encrypted)
    {
        using var test = new TestStore(encrypted ? TestStore.KeyOf(1) : null);
        var options = new SnapshotOptions { Compression = compression, Created = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123) };
        TestStore.Save(test.Store, "one", [1, 2, 0, 4, 1, 0, 7, 8, 9], options);
        test.ShouldHold("one", 1, 2, 0, 4, 1, 0, 7, 8, 9);
        using var reader = test.Store.Read("one");
        reader.Content.Should().BeEquivalentTo(TestStore.Content("one of 9"), o => o.ComparingByValue<ReadOnlyMemory<byte>>().Excluding(c => c.Machine).Excluding(c => c.Records));
        reader.Content.Machine.ToArray().Should().Equal(TestStore.Content().Machine.ToArray());
        reader.Content.Records.Select(r => (r.Name, r.Version, Convert.ToHexString(r.Bytes.Span))).Should().Equal(("vcpu0", 3, "010203"), ("serial0", 1, ""));
        reader.Regions.Should().Equal(TestStore.Low, TestStore.High);
        reader.Created.ToUnixTimeMilliseconds().Should().Be(1_700_000_000_123);
        reader.LevelCount.Should().Be(1);
    }

    [Fact]
    public void Chunks_of_zeros_and_equal_ones_are_stored_once()
    {
        using var test = new TestStore();
        using var writer = test.Store.Begin("one", [TestStore.Low], new SnapshotOptions { Compression = SnapshotCompression.None });
        foreach (int i in (int[])[0, 1, 2, 3, 4])
            writer.PutChunk(0, i, TestStore.Chunk(i < 2 ? 0 : 5));
        writer.Chunks.Should().Be((5L, 2L, 1L));
        writer.StoredBytes.Should().BeInRange(SnapshotFormat.ChunkSize, SnapshotFormat.ChunkSize + 1024);
    }

    [Fact]
    public void A_second_snapshot_of_the_same_memory_stores_no_chunk()
    {
        using var test = new TestStore();
        test.Save("one", 1, 2, 3, 4);
        test.Save("two", 4, 3, 2, 1);
        test.PackFiles.Should().ContainSingle();
        test.ShouldHold("two", 4, 3, 2, 1);
    }

    [Fact]
    public void Chunks_that_were_never_put_are_zeros()
    {
        using var test = new TestStore();
        test.Save("one", 1);
        test.ShouldHold("one", 1, 0, 0, 0, 0, 0, 0, 0, 0);
        using var reader = test.Store.Read("one");
        reader.IsZero(0, 0).Should().BeFalse();
        reader.IsZero(1, 1).Should().BeTrue();
    }

    [Fact]
    public void A_chunk_that_is_put_again_is_what_was_put_last()
    {
        using var test = new TestStore();
        using (var writer = test.Store.Begin("one", [TestStore.Low]))
        {
            writer.PutChunk(0, 0, TestStore.Chunk(1));
            writer.PutChunk(0, 0, TestStore.Chunk(2));
            writer.PutChunk(0, 1, TestStore.Chunk(3));
            writer.PutChunk(0, 1, TestStore.Chunk(0));
            writer.Finish(TestStore.Content());
        }

        test.ShouldHold("one", 2, 0);
    }

    [Fact]
    public void An_increment_holds_what_differs_and_reads_as_all_of_it()
    {
        using var test = new TestStore();
        test.Save("base", 1, 3, 5, 7);
        TestStore.Save(test.Store, "next", [1, 9, 0], new SnapshotOptions { Parent = "base" });
        test.ShouldHold("base", 1, 3, 5, 7);
        test.ShouldHold("next", 1, 9, 0, 7, 0, 0, 0, 0, 0);
        new FileInfo(test.PackFiles.MinBy(f => new FileInfo(f).Length)!).Length.Should().BeLessThan(SnapshotFormat.ChunkSize + 1024);
    }

    [Fact]
    public void Pages_of_an_increment_are_laid_over_the_chunk_below()
    {
        using var test = new TestStore();
        test.Save("base", 1, 3, 0);
        byte[] expected = TestStore.Chunk(1), page = TestStore.Chunk(11, SnapshotFormat.PageSize), short1 = TestStore.Chunk(0, TestStore.Low.ChunkLength(6));
        using (var writer = test.Store.Begin("next", [TestStore.Low, TestStore.High], new SnapshotOptions { Parent = "base" }))
        {
            writer.PutPages(0, 0, 1 << 3 | 1 << 15, [.. page, .. page]);
            writer.PutPages(0, 2, 1, page);
            writer.PutPages(0, 6, 1 << 2, page);
            writer.Finish(TestStore.Content());
        }

        page.CopyTo(expected, 3 * SnapshotFormat.PageSize);
        page.CopyTo(expected, 15 * SnapshotFormat.PageSize);
        page.CopyTo(short1, 2 * SnapshotFormat.PageSize);
        ShouldBe(test, "next", 0, expected);
        ShouldBe(test, "next", 1, TestStore.Chunk(3));
        ShouldBe(test, "next", 2, [.. page, .. new byte[SnapshotFormat.ChunkSize - page.Length]]);
        ShouldBe(test, "next", 6, short1);
    }

    [Fact]
    public void Pages_laid_over_pages_over_and_over_stay_within_a_few_pieces()
    {
        using var test = new TestStore();
        test.Save("s0", 1);
        byte[] expected = TestStore.Chunk(1);
        for (int i = 1; i <= 10; i++)
        {
            byte[] page = TestStore.Chunk(100 + i, SnapshotFormat.PageSize);
            page.CopyTo(expected, i * SnapshotFormat.PageSize);
            using (var writer = test.Store.Begin($"s{i}", [TestStore.Low, TestStore.High], new SnapshotOptions { Parent = $"s{i - 1}" }))
            {
                writer.PutPages(0, 0, (ushort)(1 << i), page);
                writer.Finish(TestStore.Content());
            }

            ShouldBe(test, $"s{i}", 0, expected);
            using var reader = test.Store.Read($"s{i}");
            reader.Resolve(0, 0).Patches.Should().BeLessThanOrEqualTo(SnapshotFormat.MostPatches);
        }
    }

    [Fact]
    public void Several_threads_save_and_restore()
    {
        var region = new SnapshotRegion("ram", 0, 200UL * SnapshotFormat.ChunkSize);
        using var test = new TestStore(TestStore.KeyOf(1));
        using (var writer = test.Store.Begin("one", [region]))
        {
            writer.PutAll((_, chunk, to) => TestStore.Chunk((int)chunk % 50).CopyTo(to), threads: 4);
            writer.Chunks.New.Should().Be(49);
            writer.Finish(TestStore.Content());
        }

        var seen = new ConcurrentDictionary<long, bool>();
        using var reader = test.Store.Read("one");
        reader.ReadAll((_, chunk, content) => seen[chunk] = content.SequenceEqual(TestStore.Chunk((int)chunk % 50)), threads: 4);
        seen.Should().HaveCount(196).And.OnlyContain(pair => pair.Value);
    }

    [Fact]
    public void Names_that_are_taken_or_none_are_refused()
    {
        using var test = new TestStore();
        test.Save("one", 1);
        Action again = () => test.Store.Begin("one", [TestStore.Low]);
        again.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Exists);
        foreach (string name in (string[])["", "..", "../x", "a/b", ".hidden", "-x", "a b", new string('x', 65), "ä"])
        {
            Action begin = () => test.Store.Begin(name, [TestStore.Low]);
            begin.Should().Throw<VmmException>(name).Which.Error.Should().Be(SnapshotErrors.BadName);
            Action read = () => test.Store.Read(name);
            read.Should().Throw<VmmException>(name).Which.Error.Should().Be(SnapshotErrors.BadName);
        }

        Action missing = () => test.Store.Read("two");
        missing.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.NotFound);
    }

    [Fact]
    public void Nothing_is_left_of_a_snapshot_that_was_not_finished()
    {
        using var test = new TestStore();
        test.Save("one", 1);
        string[] before = [.. Directory.GetFiles(test.Folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
        using (var writer = test.Store.Begin("two", [TestStore.Low]))
            writer.PutChunk(0, 0, TestStore.Chunk(3));
        Directory.GetFiles(test.Folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Should().Equal(before);
    }

    [Fact]
    public void An_encrypted_snapshot_is_read_with_its_key_alone()
    {
        using var test = new TestStore(TestStore.KeyOf(1));
        test.Save("secret", 2, 4);
        foreach (var key in (SnapshotKey?[])[null, TestStore.KeyOf(2)])
        {
            Action read = () => SnapshotStore.Open(test.Folder, key).Read("secret");
            read.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.WrongKey);
        }

        byte[] all = [.. test.PackFiles.SelectMany(File.ReadAllBytes), .. File.ReadAllBytes(test.PathOf("secret"))];
        all.AsSpan().IndexOf("secret of 2"u8).Should().Be(-1);
        all.AsSpan().IndexOf(TestStore.Chunk(2).AsSpan(0, 61)).Should().Be(-1);
    }

    private static void ShouldBe(TestStore test, string name, long chunk, byte[] expected)
    {
        using var reader = test.Store.Read(name);
        byte[] content = new byte[expected.Length];
        reader.ReadChunk(0, chunk, content).Should().Be(ChunkStatus.Ok);
        content.AsSpan().SequenceEqual(expected).Should().BeTrue();
    }
}
