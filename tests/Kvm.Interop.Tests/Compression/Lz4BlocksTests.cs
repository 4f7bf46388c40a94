using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop.Compression;

namespace Kvm.Interop.Tests.Compression;

public sealed class Lz4BlocksTests
{
    public Lz4BlocksTests() => Skip.IfNot(System.Runtime.InteropServices.NativeLibrary.TryLoad("liblz4.so.1", out _), "liblz4.so.1 is not installed");

    [SkippableTheory]
    [InlineData(1, 1)]
    [InlineData(1, 65536)]
    [InlineData(8, 65536)]
    [InlineData(8, 1 << 20)]
    public void A_block_unpacks_to_what_it_was_made_of(int acceleration, int length)
    {
        using var lz4 = new Lz4Blocks(acceleration);
        byte[] content = Content(length), packed = new byte[length + length / 255 + 16], back = new byte[length];
        for (int round = 0; round < 3; round++)
        {
            int count = lz4.Compress(content, packed);
            count.Should().BePositive();
            lz4.TryDecompress(packed.AsSpan(0, count), back).Should().BeTrue();
            back.Should().Equal(content);
        }
    }

    [SkippableFact]
    public void What_does_not_fit_is_not_written()
    {
        using var lz4 = new Lz4Blocks();
        byte[] noise = new byte[4096];
        new Random(1).NextBytes(noise);
        lz4.Compress(noise, new byte[4096]).Should().Be(0);
        lz4.Compress(noise, []).Should().Be(0);
    }

    [SkippableFact]
    public void A_block_of_another_length_is_refused()
    {
        using var lz4 = new Lz4Blocks();
        byte[] packed = new byte[8192];
        int count = lz4.Compress(Content(4096), packed);
        lz4.TryDecompress(packed.AsSpan(0, count), new byte[4095]).Should().BeFalse();
        lz4.TryDecompress(packed.AsSpan(0, count), new byte[4097]).Should().BeFalse();
        lz4.TryDecompress(packed.AsSpan(0, count - 1), new byte[4096]).Should().BeFalse();
        lz4.TryDecompress([], new byte[1]).Should().BeFalse();
    }

    [SkippableFact]
    public void Any_bytes_are_unpacked_or_refused_within_the_room_there_is() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), Prop.ForAll(Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(64).ToArbitrary(), bytes =>
        {
            using var lz4 = new Lz4Blocks();
            byte[] room = new byte[256];
            lz4.TryDecompress(bytes, room.AsSpan(64, 128));
            return !room.AsSpan(0, 64).ContainsAnyExcept((byte)0) && !room.AsSpan(192).ContainsAnyExcept((byte)0);
        }));

    [SkippableFact]
    public void Packing_and_unpacking_allocate_nothing()
    {
        using var lz4 = new Lz4Blocks();
        byte[] content = Content(4096), packed = new byte[8192];
        Allocation.Of(_ => lz4.TryDecompress(packed.AsSpan(0, lz4.Compress(content, packed)), content), 1000).Should().Be(0);
    }

    [SkippableFact]
    public void A_disposed_one_is_not_used()
    {
        var lz4 = new Lz4Blocks();
        lz4.Dispose();
        Action use = () => lz4.Compress([1], new byte[100]);
        use.Should().Throw<ObjectDisposedException>();
    }

    private static byte[] Content(int length)
    {
        byte[] content = new byte[length];
        for (int i = 0; i < length; i++)
            content[i] = (byte)(i / 7 * 3);
        return content;
    }
}
