using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Block;

public sealed class RawImageTests : IDisposable
{
    private const int Size = 256 << 10;

    private readonly AlignedBuffer _memory = new(Size);

    public void Dispose() => _memory.Dispose();

    private HostBuffer[] Pieces(params ReadOnlySpan<int> lengths)
    {
        var pieces = new HostBuffer[lengths.Length];
        int at = 0;
        for (int i = 0; i < pieces.Length; i++, at += lengths[i - 1])
            pieces[i] = _memory.Buffer.Slice(at, lengths[i]);
        return pieces;
    }

    private static byte[] Pattern(int length, int seed = 1)
    {
        byte[] pattern = new byte[length];
        new Random(seed).NextBytes(pattern);
        return pattern;
    }

    [Fact]
    public void Written_buffers_are_in_the_file_one_after_another_and_read_back()
    {
        var file = new MemoryFile(Size);
        using var image = new RawImage(file);
        byte[] pattern = Pattern(4096);
        pattern.CopyTo(_memory.Buffer.Span);
        image.Write(1024, Pieces(512, 0, 1024, 2560)).Should().Be(DiskResult.Done);
        file.Bytes.Slice(1024, 4096).ToArray().Should().Equal(pattern);
        file.Calls.Should().Equal(FileCall.Write);

        _memory.Buffer.Span.Clear();
        image.Read(1024, Pieces(4000, 96)).Should().Be(DiskResult.Done);
        _memory.Buffer.Span[..4096].ToArray().Should().Equal(pattern);
        image.Read(0, []).Should().Be(DiskResult.Done);
    }

    [Fact]
    public void Short_transfers_and_interruptions_at_any_call_lose_and_repeat_nothing() =>
        Prop.ForAll(
            Gen.Choose(1, 700).ArrayOf(12).ToArbitrary(),
            Gen.Frequency((3, Gen.Choose(1, 900)), (1, Gen.Constant(-1)), (3, Gen.Constant(int.MaxValue))).ArrayOf(40).ToArbitrary(),
            (lengths, script) =>
            {
                var file = new MemoryFile(64 << 10);
                using var image = new RawImage(file);
                int total = lengths.Sum();
                byte[] pattern = Pattern(total, total);
                pattern.CopyTo(_memory.Buffer.Span);
                file.Inject = (call, _, _) => script[call % script.Length] switch
                {
                    -1 => new HostFileResult(0, HostFileError.Interrupted),
                    var bytes => new HostFileResult(bytes),
                };
                if (image.Write(512, Pieces(lengths)) != DiskResult.Done)
                    return false;
                _memory.Buffer.Span.Clear();
                return image.Read(512, Pieces(lengths)) == DiskResult.Done
                    && _memory.Buffer.Span[..total].SequenceEqual(pattern) && file.Bytes.Slice(512, total).SequenceEqual(pattern)
                    && file.Bytes[..512].IndexOfAnyExcept((byte)0) < 0 && file.Bytes[(512 + total)..].IndexOfAnyExcept((byte)0) < 0;
            }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(HostFileError.Failed, DiskResult.Failed)]
    [InlineData(HostFileError.NoSpace, DiskResult.NoSpace)]
    [InlineData(HostFileError.Unsupported, DiskResult.Unsupported)]
    public void Error_at_the_first_or_a_later_call_is_the_request_s(HostFileError error, DiskResult expected)
    {
        foreach (int failing in (int[])[0, 1, 5])
        {
            var file = new MemoryFile(Size) { Inject = (call, _, _) => call == failing ? new HostFileResult(0, error) : new HostFileResult(512) };
            using var image = new RawImage(file);
            image.Write(0, Pieces(8192)).Should().Be(expected);
            file.Calls.Should().HaveCount(failing + 1);
        }

        var flushing = new MemoryFile(Size) { Inject = (_, _, _) => new HostFileResult(0, error) };
        using var other = new RawImage(flushing);
        other.Flush().Should().Be(expected);
    }

    [Theory]
    [InlineData(HostFileError.Failed)]
    [InlineData(HostFileError.NoSpace)]
    public void Flush_fails_and_the_next_flush_fails_too_for_what_was_lost_is_not_there_to_be_written(HostFileError error)
    {
        int flushes = 0;
        var file = new MemoryFile(Size) { Inject = (_, call, _) => call == FileCall.Flush && flushes++ == 0 ? new HostFileResult(0, error) : null };
        using var image = new RawImage(file);
        _memory.Buffer.Span[..512].Fill(5);
        image.Write(0, Pieces(512)).Should().Be(DiskResult.Done);
        image.Flush().Should().NotBe(DiskResult.Done);
        file.Bytes[0].Should().Be(0, "that is what the host does");
        image.Flush().Should().Be(DiskResult.Failed);
        image.Write(0, Pieces(512)).Should().Be(DiskResult.Done, "nothing is promised of it");
        image.Flush().Should().Be(DiskResult.Failed);
        flushes.Should().Be(1, "the host would say that all is well");
        using var opened = new RawImage(file);
        opened.Flush().Should().Be(DiskResult.Done);
    }

    [Fact]
    public void Flush_that_was_interrupted_too_often_may_be_asked_for_again()
    {
        var file = new MemoryFile(Size) { Inject = (_, _, _) => new HostFileResult(0, HostFileError.Interrupted) };
        using var image = new RawImage(file);
        image.Flush().Should().Be(DiskResult.Failed);
        file.Inject = null;
        image.Flush().Should().Be(DiskResult.Done);
    }

    [Fact]
    public void Host_that_interrupts_for_ever_fails_the_request()
    {
        var file = new MemoryFile(Size) { Inject = (_, _, _) => new HostFileResult(0, HostFileError.Interrupted) };
        using var image = new RawImage(file);
        image.Read(0, Pieces(512)).Should().Be(DiskResult.Failed);
        image.Flush().Should().Be(DiskResult.Failed);
    }

    [Fact]
    public void File_that_was_cut_behind_our_back_fails_the_request()
    {
        var file = new MemoryFile(Size) { Inject = (call, _, _) => new HostFileResult(call == 0 ? 1024 : 0) };
        using var image = new RawImage(file);
        image.Read(0, Pieces(2048)).Should().Be(DiskResult.Failed);
    }

    [Fact]
    public void More_buffers_than_one_call_takes_go_in_several()
    {
        var file = new MemoryFile(Size) { MaxBuffers = 4 };
        using var image = new RawImage(file);
        byte[] pattern = Pattern(10 * 512);
        pattern.CopyTo(_memory.Buffer.Span);
        image.Write(0, Pieces(Enumerable.Repeat(512, 10).ToArray())).Should().Be(DiskResult.Done);
        file.Calls.Should().HaveCount(3);
        file.Bytes[..pattern.Length].ToArray().Should().Equal(pattern);
    }

    [Fact]
    public void Disk_ends_with_the_file_s_last_whole_sector()
    {
        using var image = new RawImage(new MemoryFile(10 * 512 + 511));
        image.Length.Should().Be(10 * 512);
    }

    [Fact]
    public void Discarded_range_becomes_a_hole_that_reads_as_zeros()
    {
        var file = new MemoryFile(Size);
        file.Bytes.Fill(7);
        using var image = new RawImage(file);
        image.Discard(4096, 8192).Should().Be(DiskResult.Done);
        file.Holes.Should().Be(2);
        file.Bytes.Slice(4096, 8192).IndexOfAnyExcept((byte)0).Should().Be(-1);
        (file.Bytes[4095], file.Bytes[4096 + 8192]).Should().Be(((byte)7, (byte)7));
    }

    [Fact]
    public void Host_that_cannot_discard_is_asked_once_and_the_guest_not_bothered()
    {
        var file = new MemoryFile(Size) { Inject = (_, call, _) => call == FileCall.Discard ? new HostFileResult(0, HostFileError.Unsupported) : null };
        file.Bytes.Fill(7);
        using var image = new RawImage(file);
        image.CanDiscard.Should().BeTrue();
        image.Discard(0, 4096).Should().Be(DiskResult.Done);
        image.Discard(0, 4096).Should().Be(DiskResult.Done);
        image.CanDiscard.Should().BeFalse();
        file.Calls.Should().Equal(FileCall.Discard);
        file.Bytes[0].Should().Be(7);
    }

    [Theory]
    [InlineData(true, FileCall.Discard)]
    [InlineData(false, FileCall.WriteZeroes)]
    public void Zeroes_are_a_hole_where_the_guest_allows_it(bool mayUnmap, FileCall expected)
    {
        var file = new MemoryFile(Size);
        file.Bytes.Fill(7);
        using var image = new RawImage(file);
        image.WriteZeroes(512, 8192, mayUnmap).Should().Be(DiskResult.Done);
        file.Calls.Should().Equal(expected);
        file.Bytes.Slice(512, 8192).IndexOfAnyExcept((byte)0).Should().Be(-1);
        (file.Bytes[511], file.Bytes[512 + 8192]).Should().Be(((byte)7, (byte)7));
    }

    [Fact]
    public void Host_without_any_quick_way_to_zero_has_zeroes_written()
    {
        var file = new MemoryFile(1 << 20)
        {
            Inject = (_, call, _) => call is FileCall.Discard or FileCall.WriteZeroes ? new HostFileResult(0, HostFileError.Unsupported) : null,
        };
        file.Bytes.Fill(7);
        using var image = new RawImage(file);
        uint before = image.MaxZeroes;
        image.WriteZeroes(512, 600 << 10, mayUnmap: true).Should().Be(DiskResult.Done);
        file.Calls.Should().Equal(FileCall.Discard, FileCall.WriteZeroes, FileCall.Write, FileCall.Write, FileCall.Write);
        file.Bytes.Slice(512, 600 << 10).IndexOfAnyExcept((byte)0).Should().Be(-1);
        (file.Bytes[511], file.Bytes[512 + (600 << 10)]).Should().Be(((byte)7, (byte)7));
        image.MaxZeroes.Should().BeLessThan(before);
    }

    [Fact]
    public void Image_gives_its_file_back()
    {
        var file = new MemoryFile(Size);
        new RawImage(file).Dispose();
        file.Disposed.Should().BeTrue();
    }

    [Fact]
    public void Ten_thousand_transfers_allocate_nothing()
    {
        var file = new QuietFile();
        using var image = new RawImage(file);
        var pieces = Pieces(512, 1024, 512);
        Allocation.Of(_ =>
        {
            image.Read(0, pieces);
            image.Write(0, pieces);
            image.Flush();
            image.WriteZeroes(0, 4096, mayUnmap: false);
        }).Should().Be(0);
    }

    private sealed class QuietFile : IHostFile
    {
        public ulong Length => Size;

        public bool IsReadOnly => false;

        public int Alignment => 1;

        // Short by turns, so that going on is measured too.
        public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => new(Math.Max(1, buffers[0].Length / 2));

        public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => new(buffers[0].Length);

        public HostFileError Flush() => HostFileError.None;

        public HostFileError Discard(ulong position, ulong length) => HostFileError.None;

        public HostFileError WriteZeroes(ulong position, ulong length) => HostFileError.None;

        public void Dispose()
        {
        }
    }
}
