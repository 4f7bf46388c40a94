using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop.Compression;
using Kvm.TestSupport;

namespace Kvm.Interop.Tests.Compression;

public class DecompressorTests
{
    public static TheoryData<CompressionFormat> Formats => new()
    {
        CompressionFormat.Gzip, CompressionFormat.Lz4Legacy, CompressionFormat.Zstd, CompressionFormat.Xz,
    };

    /// <summary>Text-like data: compresses, but not to nothing.</summary>
    private static byte[] Sample(int length)
    {
        var random = new Random(length);
        byte[] data = new byte[length];
        for (int i = 0; i < length; i++)
            data[i] = (byte)(random.Next(4) == 0 ? random.Next(256) : i / 7);
        return data;
    }

    [Theory, MemberData(nameof(Formats))]
    public void What_was_compressed_comes_back_and_its_format_is_detected(CompressionFormat format)
    {
        foreach (int length in new[] { 1, 100, 65_536, 9 << 20 })
        {
            byte[] data = Sample(length), packed = TestCompressors.Compress(format, data), output = new byte[length];
            Decompressor.Detect(packed).Should().Be(format);
            Decompressor.Decompress(format, packed, output, out int written).Should().Be(DecompressStatus.Done);
            written.Should().Be(length);
            output.AsSpan().SequenceEqual(data).Should().BeTrue();
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void An_empty_file_unpacks_to_nothing(CompressionFormat format)
    {
        byte[] packed = TestCompressors.Compress(format, []);
        if (format == CompressionFormat.Gzip)
            packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // .NET writes no bytes for no data
        Decompressor.Decompress(format, packed, [], out int written).Should().Be(DecompressStatus.Done);
        written.Should().Be(0);
    }

    [Theory, MemberData(nameof(Formats))]
    public void Output_that_is_a_byte_short_is_full_and_nothing_is_written_past_it(CompressionFormat format)
    {
        const int length = 100_000;
        byte[] packed = TestCompressors.Compress(format, Sample(length));
        foreach (int room in new[] { 0, 1, length / 2, length - 1 })
        {
            byte[] output = new byte[length + 64];
            Array.Fill(output, (byte)0xa5);
            Decompressor.Decompress(format, packed, output.AsSpan(0, room), out _).Should().Be(DecompressStatus.OutputFull, $"room is {room}");
            output.AsSpan(room).IndexOfAnyExcept((byte)0xa5).Should().Be(-1);
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Every_truncation_is_refused(CompressionFormat format)
    {
        byte[] data = Sample(500), packed = TestCompressors.Compress(format, data), output = new byte[1000];
        for (int length = 0; length < packed.Length; length++)
        {
            var status = Decompressor.Decompress(format, packed.AsSpan(0, length), output, out int written);
            // LZ4's legacy frame has no end mark: cut between blocks it is a whole, shorter frame.
            bool emptyFrame = format == CompressionFormat.Lz4Legacy && length == 4;
            status.Should().Be(emptyFrame ? DecompressStatus.Done : DecompressStatus.Corrupt, $"{length} of {packed.Length} bytes are there");
            written.Should().BeLessThanOrEqualTo(output.Length);
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Mutated_input_never_writes_outside_the_output_and_never_throws(CompressionFormat format)
    {
        byte[] data = Sample(3000), packed = TestCompressors.Compress(format, data), output = new byte[4096 + 64];
        var mutation = from at in Gen.Choose(0, packed.Length - 1) from value in Gen.Choose(0, 255) select (at, value);
        Prop.ForAll(mutation.ArrayOf().ToArbitrary(), mutations =>
        {
            byte[] bad = [.. packed];
            foreach (var (at, value) in mutations)
                bad[at] = (byte)value;
            Array.Fill(output, (byte)0xa5, 4096, 64);
            var status = Decompressor.Decompress(format, bad, output.AsSpan(0, 4096), out int written);
            return Enum.IsDefined(status) && written is >= 0 and <= 4096 && output.AsSpan(4096).IndexOfAnyExcept((byte)0xa5) < 0;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_damaged_checksum_is_corrupt()
    {
        byte[] data = Sample(1000), output = new byte[1000];
        byte[] gzip = TestCompressors.Gzip(data);
        gzip[^6] ^= 1; // CRC32 of RFC 1952
        Decompressor.Decompress(CompressionFormat.Gzip, gzip, output, out _).Should().Be(DecompressStatus.Corrupt);
        byte[] xz = TestCompressors.Xz(data);
        xz[xz.Length - 12 - 4] ^= 1; // in the index, behind its own CRC32
        Decompressor.Decompress(CompressionFormat.Xz, xz, output, out _).Should().Be(DecompressStatus.Corrupt);
    }

    [Fact]
    public void An_LZ4_block_size_past_the_end_or_past_the_format_is_corrupt()
    {
        foreach (uint size in new uint[] { 5, 0x7fff_ffff, uint.MaxValue })
        {
            byte[] bad = [0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0, 1, 2, 3, 4];
            BinaryPrimitives.WriteUInt32LittleEndian(bad.AsSpan(4), size);
            Decompressor.Decompress(CompressionFormat.Lz4Legacy, bad, new byte[100], out _).Should().Be(DecompressStatus.Corrupt);
        }
    }

    [Fact]
    public void Bytes_after_the_end_of_an_xz_file_are_refused() =>
        Decompressor.Decompress(CompressionFormat.Xz, [.. TestCompressors.Xz(Sample(10)), 0, 0, 0, 0], new byte[10], out _)
            .Should().Be(DecompressStatus.Corrupt);

    [Theory]
    [InlineData("5d00008000", CompressionFormat.Lzma)]
    [InlineData("425a6839", CompressionFormat.Bzip2)]
    [InlineData("894c5a4f000d0a", CompressionFormat.Lzo)]
    [InlineData("7f454c46", CompressionFormat.Unknown)]
    [InlineData("", CompressionFormat.Unknown)]
    [InlineData("1f", CompressionFormat.Unknown)]
    public void Formats_without_a_decoder_are_named_and_unsupported(string hex, CompressionFormat expected)
    {
        byte[] data = Convert.FromHexString(hex);
        Decompressor.Detect(data).Should().Be(expected);
        Decompressor.Decompress(expected, data, new byte[16], out int written).Should().Be(DecompressStatus.Unsupported);
        written.Should().Be(0);
    }
}
