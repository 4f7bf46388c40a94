using System.Buffers.Binary;
using System.Security.Cryptography;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>Files that were changed, cut short, or made to harm: refused with a reason, or read as they were saved; never anything else.</summary>
public sealed class HostileFileTests
{
    private static readonly SnapshotRegion s_region = new("ram", 0x1000, 2 * SnapshotFormat.PageSize);
    private static readonly ErrorInfo[] s_refusals = [SnapshotErrors.Damaged, SnapshotErrors.LaterVersion, SnapshotErrors.NoParent, SnapshotErrors.WrongKey];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Any_byte_that_was_changed_is_noticed(bool encrypted)
    {
        using var test = Small(encrypted);
        long packed = new FileInfo(test.PackFiles[0]).Length - PackFormat.FooterSize - PackEntry.Size;
        foreach (string file in Files(test))
        {
            byte[] right = File.ReadAllBytes(file);
            for (int i = 0; i < right.Length; i++)
            {
                foreach (byte change in (byte[])[(byte)(1 << i % 8), 0xff])
                {
                    byte[] wrong = [.. right];
                    wrong[i] ^= change;
                    File.WriteAllBytes(file, wrong);
                    // Different LZ4 blocks may unpack to the same content: that is what counts, and Refusal compares it.
                    int inPack = i - (file.EndsWith(".kvmsnap", StringComparison.Ordinal) ? SnapshotFileHead.Size : 0);
                    bool isPacked = !encrypted && !file.EndsWith(".snapshot", StringComparison.Ordinal) && inPack >= PackFormat.HeaderSize && inPack < packed;
                    (Refusal(test, file) is not null || isPacked).Should().BeTrue($"byte {i} of {Path.GetExtension(file)} was changed");
                }
            }

            File.WriteAllBytes(file, right);
        }

        foreach (string file in Files(test))
            Refusal(test, file).Should().BeNull();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_file_cut_short_anywhere_is_noticed(bool encrypted)
    {
        using var test = Small(encrypted);
        foreach (string file in Files(test))
        {
            byte[] right = File.ReadAllBytes(file);
            for (int length = 0; length < right.Length; length++)
            {
                File.WriteAllBytes(file, right[..length]);
                Refusal(test, file).Should().NotBeNull($"{Path.GetExtension(file)} has {length} of {right.Length} bytes");
            }

            File.WriteAllBytes(file, [.. right, 0]);
            Refusal(test, file).Should().NotBeNull("a byte is left over");
            File.WriteAllBytes(file, right);
        }
    }

    [Fact]
    public void A_later_version_is_refused_by_its_number()
    {
        using var test = Small(false);
        foreach (string file in Files(test))
        {
            byte[] right = File.ReadAllBytes(file), later = [.. right];
            later[8] = 2;
            File.WriteAllBytes(file, later);
            Refusal(test, file)!.Error.Should().Be(SnapshotErrors.LaterVersion);
            File.WriteAllBytes(file, right);
        }
    }

    [Fact]
    public void A_snapshot_whose_parent_is_missing_is_refused_by_its_name()
    {
        using var test = new TestStore();
        test.Save("a", 1);
        TestStore.Save(test.Store, "b", [3], new SnapshotOptions { Parent = "a" });
        File.Delete(test.PathOf("a"));
        Action read = () => test.Store.Read("b");
        read.Should().Throw<VmmException>().Which.Should().Match<VmmException>(e => e.Error == SnapshotErrors.NoParent && e.Message.Contains("'a'"));
        test.Store.List()[0].Problem.Should().Contain("not in the store");
    }

    [Fact]
    public void A_renamed_parent_is_found_by_its_identity()
    {
        using var test = new TestStore();
        test.Save("a", 1, 5);
        TestStore.Save(test.Store, "b", [3], new SnapshotOptions { Parent = "a" });
        File.Move(test.PathOf("a"), test.PathOf("renamed"));
        test.ShouldHold("b", 3, 5);
        test.Store.List()[0].Parent.Should().Be("renamed");
    }

    [Fact]
    public void Snapshots_based_on_one_another_in_a_circle_are_refused()
    {
        using var test = new TestStore();
        Directory.CreateDirectory(Path.Combine(test.Folder, "packs"));
        StoreId a = StoreId.New(), b = StoreId.New();
        Write(test, "a", new ManifestHead { Identity = a, Parent = b }, "b");
        Write(test, "b", new ManifestHead { Identity = b, Parent = a }, "a");
        Write(test, "self", new ManifestHead { Identity = a, Parent = a }, "self");
        foreach (string name in (string[])["a", "b", "self"])
        {
            Action read = () => test.Store.Read(name);
            read.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.NoParent);
        }
    }

    [Fact]
    public void More_snapshots_on_one_another_than_allowed_are_refused_when_read_and_when_saved()
    {
        using var test = new TestStore();
        test.Save("s1", 1);
        for (int i = 2; i <= SnapshotFormat.MostLevels; i++)
            TestStore.Save(test.Store, $"s{i}", [], new SnapshotOptions { Parent = $"s{i - 1}" });
        test.ShouldHold($"s{SnapshotFormat.MostLevels}", 1);
        Action save = () => TestStore.Save(test.Store, "more", [], new SnapshotOptions { Parent = $"s{SnapshotFormat.MostLevels}" });
        save.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.NoParent);
        var last = test.Store.Read($"s{SnapshotFormat.MostLevels}").Chain[0].Head.Identity;
        Write(test, "more", new ManifestHead { Identity = StoreId.New(), Parent = last }, $"s{SnapshotFormat.MostLevels}");
        Action read = () => test.Store.Read("more");
        read.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.NoParent);
        test.Store.Merge($"s{SnapshotFormat.MostLevels}").Should().Be(SnapshotFormat.MostLevels);
        test.ShouldHold("more", 1);
    }

    [Theory]
    [InlineData("../a")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData("a\0")]
    public void A_parents_name_that_is_a_path_is_refused(string name)
    {
        using var test = new TestStore();
        Directory.CreateDirectory(test.Folder);
        Write(test, "a", new ManifestHead { Identity = StoreId.New(), Parent = StoreId.New() }, name);
        Action read = () => test.Store.Read("a");
        read.Should().Throw<VmmException>().Which.Should().Match<VmmException>(e => e.Error == SnapshotErrors.Damaged && e.Message.Contains("parent's name"));
    }

    [Fact]
    public void Counts_and_lengths_that_cannot_be_are_refused_without_the_memory_they_ask_for()
    {
        // Behind the head each field is set in turn to the largest numbers; the checksum is made right.
        byte[] right = ManifestFile.Encode(new ManifestHead { Identity = StoreId.New() }, Body(writer => Manifest.WriteRegions(writer, [Table()])), null);
        long before = GC.GetTotalAllocatedBytes();
        for (int i = ManifestHead.Size; i + 4 <= right.Length; i++)
        {
            foreach (ulong value in (ulong[])[uint.MaxValue, 1UL << 31, ulong.MaxValue, 1UL << 52, 1UL << 63])
            {
                byte[] wrong = [.. right];
                BitConverter.GetBytes(value).AsSpan(0, Math.Min(8, wrong.Length - i)).CopyTo(wrong.AsSpan(i));
                Seal(wrong);
                try
                {
                    ManifestFile.Decode(wrong, null);
                }
                catch (StoreFault fault)
                {
                    fault.Error.Should().Be(SnapshotErrors.Damaged);
                }
            }
        }

        (GC.GetTotalAllocatedBytes() - before).Should().BeLessThan(1L << 30);
    }

    [Fact]
    public void A_head_whose_numbers_cannot_be_is_refused()
    {
        byte[] right = ManifestFile.Encode(new ManifestHead { Identity = StoreId.New() }, Body(writer => Manifest.WriteRegions(writer, [Table()])), null);
        foreach (var (at, value) in ((int, ulong)[])[(12, uint.MaxValue), (12, 1), (48, ulong.MaxValue), (48, long.MaxValue), (56, ulong.MaxValue), (56, 0), (56, 1UL << 63)])
        {
            byte[] wrong = [.. right];
            if (at == 12)
                BinaryPrimitives.WriteUInt32LittleEndian(wrong.AsSpan(at), (uint)value);
            else
                BinaryPrimitives.WriteUInt64LittleEndian(wrong.AsSpan(at), value);
            Seal(wrong);
            Action decode = () => ManifestFile.Decode(wrong, null);
            decode.Should().Throw<StoreFault>($"{value} at {at}").WithMessage("*cannot be*").Which.Error.Should().Be(SnapshotErrors.Damaged);
        }
    }

    [Fact]
    public void A_region_of_two_to_the_fifty_two_bytes_of_zeros_costs_no_memory_and_no_time()
    {
        using var test = new TestStore();
        var vast = new SnapshotRegion("ram", 0, SnapshotFormat.MostAddress);
        using (var writer = test.Store.Begin("vast", [vast]))
        {
            writer.PutChunk(0, vast.ChunkCount - 1, TestStore.Chunk(1));
            writer.Finish(TestStore.Content());
        }

        string file = Path.Combine(test.Folder, "vast.kvmsnap");
        test.Store.Export("vast", file, SnapshotCompression.Lz4, 2);
        test.Store.Remove(["vast"]);
        test.Store.Import(file, null, SnapshotCompression.Lz4, 2);
        test.Store.Inspect("vast").Sizes.Zero.Should().Be(vast.Length - SnapshotFormat.ChunkSize);
        test.Store.Verify([], 2).Problems.Should().BeEmpty();
    }

    [Fact]
    public void A_pack_that_gives_another_chunk_for_an_id_is_noticed()
    {
        using var test = new TestStore();
        TestStore.Save(test.Store, "a", [1, 3], new SnapshotOptions { Compression = SnapshotCompression.None });
        byte[] pack = File.ReadAllBytes(test.PackFiles[0]);
        // The two entries of the index change their offsets, and the checksum is made right: only the content tells.
        int index = pack.Length - 64 - 96;
        byte[] first = pack[(index + 32)..(index + 40)], second = pack[(index + 80)..(index + 88)];
        second.CopyTo(pack, index + 32);
        first.CopyTo(pack, index + 80);
        SHA256.HashData([.. pack[..96], .. pack[index..^32]], pack.AsSpan(pack.Length - 32));
        File.WriteAllBytes(test.PackFiles[0], pack);
        using var reader = test.Store.Read("a");
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        reader.ReadChunk(0, 0, content).Should().Be(ChunkStatus.Damaged);
        reader.ReadChunk(0, 1, content).Should().Be(ChunkStatus.Damaged);
    }

    [Fact]
    public void An_imported_file_cannot_put_a_wrong_chunk_under_an_id()
    {
        using var test = new TestStore();
        using var other = new TestStore();
        TestStore.Save(test.Store, "a", [1], new SnapshotOptions { Compression = SnapshotCompression.None });
        string file = Path.Combine(test.Folder, "a.kvmsnap");
        test.Store.Export("a", file, SnapshotCompression.None, 1);
        byte[] bytes = File.ReadAllBytes(file);
        bytes[SnapshotFileHead.Size + PackFormat.HeaderSize + 100] ^= 1;
        File.WriteAllBytes(file, bytes);
        Action import = () => other.Store.Import(file, null, SnapshotCompression.Lz4, 1);
        import.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Damaged);
        other.Store.List().Should().BeEmpty();
        other.PackFiles.Should().BeEmpty();
    }

    [Fact]
    public void What_is_no_regular_file_is_not_waited_for()
    {
        using var test = new TestStore();
        Directory.CreateDirectory(test.PathOf("folder"));
        Action read = () => test.Store.Read("folder");
        read.Should().Throw<VmmException>();
        Action device = () => SnapshotStore.ReadFile("/dev/zero");
        device.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.ReadFailed);
    }

    private static TestStore Small(bool encrypted)
    {
        var test = new TestStore(encrypted ? TestStore.KeyOf(3) : null);
        using (var writer = test.Store.Begin("a", [s_region]))
        {
            writer.PutChunk(0, 0, Content());
            writer.Finish(new SnapshotContent { Machine = new byte[] { 1 }, Records = [new SnapshotRecord("r", 1, new byte[] { 2 })] });
        }

        test.Store.Export("a", Path.Combine(test.Folder, "a.kvmsnap"), SnapshotCompression.Lz4, 1);
        return test;
    }

    private static byte[] Content()
    {
        byte[] content = new byte[s_region.Length];
        for (int i = 0; i < content.Length; i++)
            content[i] = (byte)(i / 512);
        return content;
    }

    private static string[] Files(TestStore test) => [test.PathOf("a"), test.PackFiles[0], Path.Combine(test.Folder, "a.kvmsnap")];

    /// <summary>Why a snapshot is refused, whole or where it is read; null where it reads as it was saved.</summary>
    private static VmmException? Refusal(TestStore test, string file)
    {
        try
        {
            bool single = file.EndsWith(".kvmsnap", StringComparison.Ordinal);
            using var reader = single ? SnapshotStore.ReadFile(file, TestStore.KeyOf(3)) : SnapshotStore.Open(test.Folder, TestStore.KeyOf(3)).Read("a");
            byte[] content = new byte[s_region.Length];
            var status = reader.ReadChunk(0, 0, content);
            if (status != ChunkStatus.Ok)
                return reader.Explain(status, 0, 0);
            content.AsSpan().SequenceEqual(Content()).Should().BeTrue("what is read is what was saved");
            return null;
        }
        catch (VmmException e)
        {
            s_refusals.Should().Contain(e.Error, e.Message);
            return e;
        }
    }

    private static void Write(TestStore test, string name, ManifestHead head, string parentName) =>
        File.WriteAllBytes(test.PathOf(name), ManifestFile.Encode(head, Body(writer => Manifest.WriteRegions(writer, [new RegionTable(TestStore.Low, ChunkKind.Parent), new RegionTable(TestStore.High, ChunkKind.Parent)]), parentName), null));

    private static byte[] Body(Action<StateWriter> regions, string parentName = "")
    {
        var writer = new StateWriter();
        ManifestText.Write(writer, parentName);
        Manifest.WriteContent(writer, TestStore.Content());
        regions(writer);
        return writer.Written.ToArray();
    }

    private static RegionTable Table()
    {
        var table = new RegionTable(TestStore.Low, ChunkKind.Zero);
        table[1] = new ChunkRef(ChunkKind.Chunk, 0, new ChunkId(1, 2, 3, 4));
        table[2] = new ChunkRef(ChunkKind.Patch, 5, new ChunkId(5, 6, 7, 8));
        return table;
    }

    private static void Seal(byte[] file) =>
        SHA256.HashData([.. file[..ManifestHead.HashOffset], .. file[ManifestHead.Size..]], file.AsSpan(ManifestHead.HashOffset, 32));
}
