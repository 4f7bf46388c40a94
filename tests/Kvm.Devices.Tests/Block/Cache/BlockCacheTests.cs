using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Cache;
using Kvm.Devices.Memory;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Block.Cache;

public sealed class BlockCacheTests : IDisposable
{
    private const int Length = (3 << 20) + 1000, Block = BlockCache.BlockSize;

    private readonly BlockCache _cache = new(BlockCache.MinBytes);
    private readonly AlignedBuffer _memory = new(1 << 20);
    private readonly byte[] _content = new byte[Length];

    public BlockCacheTests() => new Random(1).NextBytes(_content);

    public void Dispose()
    {
        _cache.Dispose();
        _memory.Dispose();
    }

    private MemoryFile File()
    {
        var file = new MemoryFile(Length, readOnly: true);
        _content.CopyTo(file.Bytes);
        return file;
    }

    private static int Reads(MemoryFile file) => file.Calls.Count(c => c == FileCall.Read);

    /// <summary>Reads as images do: goes on after what is short. Gives what came, cut into buffers of two lengths.</summary>
    private byte[]? Read(IHostFile file, int position, int length, int cut = 700)
    {
        var all = _memory.Buffer.Slice(0, length);
        all.Span.Fill(0xee);
        for (int done = 0; done < length;)
        {
            var rest = all.Slice(done);
            int front = Math.Min(cut, rest.Length);
            var result = file.ReadAt((ulong)(position + done), [rest.Slice(0, front), rest.Slice(front)]);
            if (result.Error != HostFileError.None || result.Bytes == 0)
                return null;
            done += (int)result.Bytes;
        }

        return all.Span.ToArray();
    }

    [Fact]
    public void Any_reads_of_two_disks_on_one_file_give_its_bytes() =>
        Prop.ForAll((from at in Gen.Choose(0, Length - 1) from count in Gen.Choose(1, 200_000) from cut in Gen.Choose(0, 70_000) select (at, count, cut)).ArrayOf(60).ToArbitrary(), reads =>
        {
            using var cache = new BlockCache(BlockCache.MinBytes);
            using IHostFile one = cache.Show(File(), "a"), two = cache.Show(File(), "a");
            foreach (var (at, count, cut) in reads)
            {
                int length = Math.Min(count, Length - at);
                if (Read(cut % 2 == 0 ? one : two, at, length, cut) is not { } bytes || !bytes.AsSpan().SequenceEqual(_content.AsSpan(at, length)))
                    return false;
            }

            return cache.Counters.Bytes <= BlockCache.MinBytes;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void What_one_disk_read_another_one_on_the_same_file_finds_and_one_on_another_file_does_not()
    {
        MemoryFile a = File(), b = File(), c = File();
        using IHostFile one = _cache.Show(a, "a"), two = _cache.Show(b, "a"), three = _cache.Show(c, "c");
        Read(one, 5 * Block, 4096);
        Read(two, 5 * Block + 8192, 4096).Should().Equal(_content.AsSpan(5 * Block + 8192, 4096).ToArray());
        (Reads(a), Reads(b)).Should().Be((1, 0));
        Read(three, 5 * Block, 4096);
        Reads(c).Should().Be(1);
        _cache.Counters.Should().Match<BlockCacheCounters>(x => x.Hits == 1 && x.Misses == 2);
    }

    [Fact]
    public void Reads_that_follow_one_another_are_looked_ahead_of_and_others_are_not()
    {
        var file = File();
        using var shown = _cache.Show(file, "a");
        for (int at = 0; at < 512 << 10; at += 4096)
            Read(shown, at, 4096).Should().Equal(_content.AsSpan(at, 4096).ToArray());
        Reads(file).Should().BeLessThan(12);
        _cache.Counters.ReadAhead.Should().BeGreaterThan(10);
        long ahead = _cache.Counters.ReadAhead;
        int before = Reads(file);
        for (int i = 0; i < 20; i++)
            Read(shown, (2 << 20) + (i * 7 % 20) * 2 * Block, 4096);
        Reads(file).Should().Be(before + 20);
        _cache.Counters.ReadAhead.Should().Be(ahead);
    }

    [Fact]
    public void End_of_the_file_is_read_and_kept_and_nothing_is_behind_it()
    {
        var file = File();
        using var shown = _cache.Show(file, "a");
        Read(shown, Length - 500, 500).Should().Equal(_content.AsSpan(Length - 500).ToArray());
        Read(shown, Length - 900, 900).Should().Equal(_content.AsSpan(Length - 900).ToArray());
        Reads(file).Should().Be(1);
        var room = _memory.Buffer.Slice(0, 4096);
        shown.ReadAt(Length - 100, new ReadOnlySpan<HostBuffer>(in room)).Bytes.Should().Be(100);
        shown.ReadAt(Length, new ReadOnlySpan<HostBuffer>(in room)).Bytes.Should().Be(0);
        shown.ReadAt(ulong.MaxValue, new ReadOnlySpan<HostBuffer>(in room)).Bytes.Should().Be(0);
    }

    [Theory]
    [InlineData(HostFileError.Failed)]
    [InlineData(HostFileError.Interrupted)]
    public void Failed_read_is_told_and_not_kept(HostFileError error)
    {
        var file = File();
        using var shown = _cache.Show(file, "a");
        file.Inject = (_, _, _) => new HostFileResult(0, error);
        var room = _memory.Buffer.Slice(0, 4096);
        shown.ReadAt(0, new ReadOnlySpan<HostBuffer>(in room)).Error.Should().Be(error);
        file.Inject = null;
        Read(shown, 0, 4096).Should().Equal(_content.AsSpan(0, 4096).ToArray());
    }

    [Fact]
    public void Short_read_gives_what_came_and_keeps_whole_blocks_only()
    {
        var file = File();
        using var shown = _cache.Show(file, "a");
        int calls = 0;
        file.Inject = (_, _, _) => calls++ == 0 ? new HostFileResult(Block + 100) : null;
        Read(shown, 0, 3 * Block).Should().Equal(_content.AsSpan(0, 3 * Block).ToArray());
        Read(shown, 0, 3 * Block).Should().Equal(_content.AsSpan(0, 3 * Block).ToArray());
    }

    [Fact]
    public void File_that_takes_only_aligned_reads_gets_such_and_the_disk_above_need_not_know()
    {
        var file = new MemoryFile(1 << 20, alignment: 4096, readOnly: true);
        _content.AsSpan(0, 1 << 20).CopyTo(file.Bytes);
        using var shown = _cache.Show(file, "a");
        shown.Alignment.Should().Be(1);
        Read(shown, 513, 777).Should().Equal(_content.AsSpan(513, 777).ToArray());
    }

    [Fact]
    public void Block_that_is_there_costs_no_allocation()
    {
        using var shown = _cache.Show(File(), "a");
        var room = _memory.Buffer.Slice(0, 4096);
        Read(shown, 0, Block);
        Allocation.Of(_ => shown.ReadAt(4096, new ReadOnlySpan<HostBuffer>(in room))).Should().Be(0);
        _cache.Counters.Misses.Should().Be(1);
    }

    [Fact]
    public void Cache_of_less_than_a_mebibyte_is_refused()
    {
        var act = () => new BlockCache(BlockCache.MinBytes - 1);
        act.Should().Throw<ArgumentOutOfRangeException>();
    }
}
