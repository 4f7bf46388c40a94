using Kvm.Devices.Block;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Virtio.Block;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>What is left of acknowledged writes when the host crashes, in each cache mode (virtio 1.2, 5.2.6.2).</summary>
public abstract class BlockCacheTests : IDisposable
{
    private readonly MemoryFile _file;
    private readonly RawImage _image;

    protected BlockCacheTests(bool asynchronous) => _image = new RawImage(_file = new MemoryFile(64 << 10) { Asynchronous = asynchronous });

    public void Dispose() => _image.Dispose();

    private BlockGuest Guest(DiskCache cache, ulong? features = null) => new(_image, new BlockOptions { Cache = cache }, features: features);

    private static byte[] Sector(byte value)
    {
        byte[] sector = new byte[512];
        Array.Fill(sector, value);
        return sector;
    }

    private bool Survives(byte value) => _file.Stable[..512].IndexOfAnyExcept(value) < 0;

    [Theory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.None)]
    public void Write_survives_from_the_next_flush_on(DiskCache cache)
    {
        using var guest = Guest(cache);
        guest.Write(0, Sector(1)).Should().Be(BlockGuest.Ok);
        Survives(1).Should().BeFalse("it is volatile");
        guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.Ok);
        Survives(1).Should().BeTrue();
    }

    [Fact]
    public void Write_through_survives_from_its_acknowledgement_on_whatever_the_guest_asks_for()
    {
        using var guest = Guest(DiskCache.WriteThrough);
        byte[] writeback = new byte[1];
        guest.Transport.ReadConfig(32, writeback);
        writeback[0].Should().Be(0);
        guest.Transport.WriteConfig(32, [1]);
        guest.Write(0, Sector(2)).Should().Be(BlockGuest.Ok);
        Survives(2).Should().BeTrue();
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(0, 1)).Should().Be(BlockGuest.Ok);
        Survives(0).Should().BeTrue();
    }

    [Fact]
    public void Write_through_that_cannot_be_made_durable_is_not_acknowledged()
    {
        using var guest = Guest(DiskCache.WriteThrough);
        _file.Inject = (_, call, _) => call == FileCall.Flush ? new HostFileResult(0, HostFileError.Failed) : null;
        guest.Write(0, Sector(1)).Should().Be(BlockGuest.IoError);
    }

    [Theory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.WriteThrough)]
    [InlineData(DiskCache.None)]
    public void Flush_fails_and_every_later_one_fails_too_even_after_a_reset(DiskCache cache)
    {
        using var guest = Guest(cache);
        int flushes = 0;
        _file.Inject = (_, call, _) => call == FileCall.Flush && flushes++ == 0 ? new HostFileResult(0, HostFileError.Failed) : null;
        byte promised = cache == DiskCache.WriteThrough ? BlockGuest.IoError : BlockGuest.Ok;
        guest.Write(0, Sector(1)).Should().Be(promised);
        guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.IoError);
        Survives(1).Should().BeFalse("the host lost it");
        guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.IoError);
        guest.Write(0, Sector(2)).Should().Be(promised);
        guest.Send(BlockGuest.WriteZeroes, 0, BlockGuest.Range(8, 8)).Should().Be(promised);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Transport.Status = 0;
        using var restarted = Guest(cache);
        restarted.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.IoError);
        flushes.Should().Be(1, "the host would say that all is well");
    }

    [Fact]
    public void Unsafe_disk_acknowledges_flushes_and_does_none()
    {
        using var guest = Guest(DiskCache.Unsafe);
        guest.Write(0, Sector(1)).Should().Be(BlockGuest.Ok);
        guest.Send(BlockGuest.Flush, 0, []).Should().Be(BlockGuest.Ok);
        Survives(1).Should().BeFalse();
        _file.Calls.Should().Equal(FileCall.Write);
    }

    [Fact]
    public void Driver_without_the_flush_feature_gets_durable_writes_as_5_2_6_2_demands()
    {
        using var guest = Guest(DiskCache.WriteBack, features: BlockGuest.WritebackFeature);
        byte[] writeback = new byte[1];
        guest.Transport.ReadConfig(32, writeback);
        writeback[0].Should().Be(0, "5.2.5.2");
        guest.Write(0, Sector(3)).Should().Be(BlockGuest.Ok);
        Survives(3).Should().BeTrue();
        guest.Transport.WriteConfig(32, [1]);
        guest.Write(0, Sector(4));
        Survives(4).Should().BeTrue("it cannot flush, so it cannot switch either");
    }

    [Fact]
    public void Driver_switches_between_write_through_and_write_back_by_the_configuration()
    {
        using var guest = Guest(DiskCache.WriteBack);
        guest.Transport.WriteConfig(32, [0]);
        guest.Write(0, Sector(5));
        Survives(5).Should().BeTrue();
        guest.Transport.WriteConfig(32, [1]);
        guest.Write(0, Sector(6));
        Survives(6).Should().BeFalse();
        guest.Transport.Status = 0;
        byte[] writeback = new byte[1];
        guest.Transport.ReadConfig(32, writeback);
        writeback[0].Should().Be(1, "a reset brings the default back");
    }

    [Fact]
    public void Switch_without_its_feature_is_lost()
    {
        using var guest = Guest(DiskCache.WriteBack, features: BlockGuest.FlushFeature);
        guest.Transport.WriteConfig(32, [0]);
        guest.Write(0, Sector(7));
        Survives(7).Should().BeFalse();
    }

    [Fact]
    public void Writes_before_a_flush_are_in_the_file_before_it_and_none_after_it_is_needed()
    {
        using var guest = Guest(DiskCache.WriteBack);
        for (byte i = 1; i <= 5; i++)
            guest.Write(i, Sector(i));
        guest.Send(BlockGuest.Flush, 0, []);
        guest.Write(6, Sector(6));
        _file.Calls.Should().Equal(FileCall.Write, FileCall.Write, FileCall.Write, FileCall.Write, FileCall.Write, FileCall.Flush, FileCall.Write);
        for (int i = 1; i <= 5; i++)
            _file.Stable[i * 512].Should().Be((byte)i);
    }
}

/// <inheritdoc/>
public sealed class SynchronousBlockCacheTests() : BlockCacheTests(asynchronous: false);

/// <inheritdoc/>
public sealed class AsynchronousBlockCacheTests() : BlockCacheTests(asynchronous: true);
