using System.IO.Compression;
using Kvm.Interop.Compression;

namespace Kvm.Interop.Tests.Compression;

/// <summary>Blocks of a disk image by the system's libraries: exactly one block out, whatever comes in.</summary>
public sealed class BlockCodecTests : IDisposable
{
    private const int Block = 64 << 10;

    private readonly RawDeflate _deflate = new();
    private readonly ZstdBlocks _zstd = new();
    private readonly byte[] _content = Content();

    public void Dispose()
    {
        _deflate.Dispose();
        _zstd.Dispose();
    }

    private static byte[] Content()
    {
        var random = new Random(4);
        return [.. Enumerable.Range(0, Block).Select(i => (byte)(random.Next(3) == 0 ? random.Next(256) : i >> 7))];
    }

    private byte[] Pack(bool zstd, int room = Block)
    {
        byte[] packed = new byte[room];
        int count = zstd ? _zstd.Compress(_content, packed) : _deflate.Deflate(_content, packed);
        return packed[..count];
    }

    private bool TryUnpack(bool zstd, ReadOnlySpan<byte> packed, Span<byte> to) => zstd ? _zstd.TryDecompress(packed, to) : _deflate.TryInflate(packed, to);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Block_comes_back_with_anything_behind_it(bool zstd)
    {
        byte[] packed = Pack(zstd), to = new byte[Block];
        packed.Length.Should().BeInRange(100, Block - 1);
        for (int again = 0; again < 3; again++)
        {
            to.AsSpan().Clear();
            TryUnpack(zstd, [.. packed, .. new byte[511]], to).Should().BeTrue();
            to.Should().Equal(_content);
        }
    }

    [Fact]
    public void Deflate_is_the_framework_s()
    {
        var framework = new MemoryStream();
        using (var stream = new DeflateStream(framework, CompressionLevel.Optimal, leaveOpen: true))
            stream.Write(_content);
        byte[] to = new byte[Block];
        _deflate.TryInflate(framework.ToArray(), to).Should().BeTrue();
        to.Should().Equal(_content);
        using var back = new DeflateStream(new MemoryStream(Pack(zstd: false)), CompressionMode.Decompress);
        back.ReadExactly(to.AsSpan());
        to.Should().Equal(_content);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Input_that_is_cut_empty_or_damaged_is_refused(bool zstd)
    {
        byte[] packed = Pack(zstd), to = new byte[Block];
        TryUnpack(zstd, packed.AsSpan(0, packed.Length / 2), to).Should().BeFalse();
        TryUnpack(zstd, [], to).Should().BeFalse();
        TryUnpack(zstd, Enumerable.Repeat((byte)0xff, 100).ToArray(), to).Should().BeFalse();
        byte[] random = new byte[1000];
        for (int seed = 0; seed < 200; seed++)
        {
            new Random(seed).NextBytes(random);
            TryUnpack(zstd, random, to).Should().BeFalse();
        }

        TryUnpack(zstd, packed, to).Should().BeTrue("what was damaged before changes nothing");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Output_that_does_not_fit_is_never_written_past_its_end(bool zstd)
    {
        byte[] packed = Pack(zstd), to = new byte[Block];
        to.AsSpan(1000).Fill(0x77);
        // Deflate fills what there is room for; a frame of Zstandard has to fit whole.
        TryUnpack(zstd, packed, to.AsSpan(0, 1000)).Should().Be(!zstd);
        to.AsSpan(1000).IndexOfAnyExcept((byte)0x77).Should().Be(-1);
        Pack(zstd, packed.Length - 1).Should().BeEmpty();
        byte[] noise = new byte[Block];
        new Random(1).NextBytes(noise);
        (zstd ? _zstd.Compress(noise, new byte[Block - 1]) : _deflate.Deflate(noise, new byte[Block - 1])).Should().Be(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_is_allocated_after_the_first_block(bool zstd)
    {
        byte[] packed = Pack(zstd), to = new byte[Block], room = new byte[Block];
        Allocation.Of(_ =>
        {
            TryUnpack(zstd, packed, to);
            if (zstd)
                _zstd.Compress(_content, room);
            else
                _deflate.Deflate(_content, room);
        }, 50).Should().Be(0);
    }

    [Fact]
    public void Codec_that_was_disposed_of_says_so()
    {
        _deflate.Dispose();
        _zstd.Dispose();
        ((Action)(() => _deflate.TryInflate(_content, new byte[10]))).Should().Throw<ObjectDisposedException>();
        ((Action)(() => _zstd.Compress(_content, new byte[10]))).Should().Throw<ObjectDisposedException>();
    }
}
