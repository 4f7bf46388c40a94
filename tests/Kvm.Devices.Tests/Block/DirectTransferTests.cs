using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

/// <summary>Files that take only aligned transfers (O_DIRECT).</summary>
public sealed class DirectTransferTests : IDisposable
{
    private const int Size = 1 << 20;

    private readonly AlignedBuffer _memory = new(Size + 4096);

    public void Dispose() => _memory.Dispose();

    [Theory]
    [InlineData(1, 512)]
    [InlineData(512, 512)]
    [InlineData(4096, 4096)]
    public void Block_size_is_what_the_file_demands(int alignment, int blockSize)
    {
        using var image = new RawImage(new MemoryFile(Size, alignment));
        image.BlockSize.Should().Be(blockSize);
        image.PhysicalBlockSize.Should().Be(4096);
    }

    [Fact]
    public void Aligned_transfer_goes_as_it_is()
    {
        var file = new MemoryFile(Size, 512);
        using var image = new RawImage(file);
        var two = new[] { _memory.Buffer.Slice(0, 1024), _memory.Buffer.Slice(4096, 512) };
        image.Write(512, two).Should().Be(DiskResult.Done);
        image.Read(512, two).Should().Be(DiskResult.Done);
        file.Calls.Should().Equal(FileCall.Write, FileCall.Read);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void Any_sectors_from_any_address_read_back_and_change_no_neighbour(int alignment) =>
        Prop.ForAll(
            (from sector in Gen.Choose(0, 600) from count in Gen.Choose(1, 1100) from shift in Gen.Choose(0, 4095) from cut in Gen.Choose(1, 511) select (sector, count, shift, cut)).ToArbitrary(),
            request =>
            {
                var file = new MemoryFile(Size, alignment);
                using var image = new RawImage(file);
                new Random(1).NextBytes(file.Bytes);
                byte[] expected = file.Bytes.ToArray();
                int at = request.sector * 512, length = Math.Min(request.count * 512, Size - at);
                var all = _memory.Buffer.Slice(request.shift, length);
                new Random(request.sector).NextBytes(all.Span);
                all.Span.CopyTo(expected.AsSpan(at));
                byte[] wanted = all.Span.ToArray();
                // In two elements, cut where no file would have it.
                HostBuffer[] buffers = [all.Slice(0, request.cut), all.Slice(request.cut)];
                if (image.Write((ulong)at, buffers) != DiskResult.Done || !file.Bytes.SequenceEqual(expected))
                    return false;
                all.Span.Clear();
                return image.Read((ulong)at, buffers) == DiskResult.Done && all.Span.SequenceEqual(wanted);
            }).QuickCheckThrowOnFailure();

    /// <summary>Interruptions, and transfers cut at a block of the file, as a host cuts them.</summary>
    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void Short_transfers_and_interruptions_at_any_call_lose_and_repeat_nothing(int alignment) =>
        Prop.ForAll(
            (from sector in Gen.Choose(0, 600) from count in Gen.Choose(1, 1100) from shift in Gen.Choose(0, 4095) select (sector, count, shift)).ToArbitrary(),
            Gen.Frequency((3, Gen.Choose(1, 80)), (1, Gen.Constant(-1)), (2, Gen.Constant(int.MaxValue / 4096))).ArrayOf(40).ToArbitrary(),
            (request, script) =>
            {
                var file = new MemoryFile(Size, alignment);
                using var image = new RawImage(file);
                new Random(1).NextBytes(file.Bytes);
                byte[] expected = file.Bytes.ToArray();
                int at = request.sector * 512, length = Math.Min(request.count * 512, Size - at);
                var all = _memory.Buffer.Slice(request.shift, length);
                new Random(request.sector).NextBytes(all.Span);
                all.Span.CopyTo(expected.AsSpan(at));
                byte[] wanted = all.Span.ToArray();
                file.Inject = (call, _, _) => script[call % script.Length] switch
                {
                    -1 => new HostFileResult(0, HostFileError.Interrupted),
                    var blocks => new HostFileResult((long)blocks * alignment),
                };
                if (image.Write((ulong)at, [all]) != DiskResult.Done || !file.Bytes.SequenceEqual(expected))
                    return false;
                all.Span.Clear();
                return image.Read((ulong)at, [all]) == DiskResult.Done && all.Span.SequenceEqual(wanted);
            }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void Error_in_any_step_of_an_unaligned_write_is_the_request_s(int failing)
    {
        var file = new MemoryFile(Size, 4096) { Inject = (call, _, _) => call == failing ? new HostFileResult(0, HostFileError.NoSpace) : null };
        using var image = new RawImage(file);
        // A block is read, then written; then the next ones.
        var result = image.Write(512, [_memory.Buffer.Slice(0, 300 << 10)]);
        result.Should().Be(DiskResult.NoSpace);
        file.Calls.Should().HaveCount(failing + 1);
    }

    [Fact]
    public async Task Writers_of_neighbouring_sectors_in_one_block_lose_nothing_of_each_other()
    {
        var file = new MemoryFile(64 << 10, 4096);
        using var image = new RawImage(file);
        var writers = Enumerable.Range(0, 4).Select(n => Task.Run(() =>
        {
            using var own = new AlignedBuffer(512);
            for (int i = 1; i <= 400; i++)
            {
                own.Buffer.Span.Fill((byte)i);
                for (int sector = n; sector < 16; sector += 4)
                    image.Write((ulong)sector * 512, [own.Buffer]);
            }
        }));
        await Task.WhenAll(writers).WaitAsync(TimeSpan.FromSeconds(60));
        file.Bytes[..8192].IndexOfAnyExcept((byte)(400 & 0xff)).Should().Be(-1);
    }
}
