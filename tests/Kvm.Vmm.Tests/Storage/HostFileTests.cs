using System.Security.Cryptography;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage;

public sealed class HostFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-disk").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Make(string name, int length)
    {
        string path = Path.Combine(_folder, name);
        byte[] bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static VmmException Failure(DiskConfig disk)
    {
        var open = () => HostFile.Open(disk).Dispose();
        var thrown = open.Should().Throw<VmmException>().Which;
        thrown.ExitCode.Should().Be(ExitCode.BadInput);
        return thrown;
    }

    private static DiskResult Write(RawImage image, ulong position, ReadOnlySpan<byte> data)
    {
        using var memory = new AlignedBuffer(data.Length);
        data.CopyTo(memory.Buffer.Span);
        var buffers = new[] { memory.Buffer.Slice(0, 100), memory.Buffer.Slice(100) };
        return image.Write(position, buffers);
    }

    private static byte[] Read(RawImage image, ulong position, int length)
    {
        using var memory = new AlignedBuffer(length);
        image.Read(position, [memory.Buffer.Slice(0, 512), memory.Buffer.Slice(512)]).Should().Be(DiskResult.Done);
        return memory.Buffer.Span.ToArray();
    }

    [SkippableTheory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.None)]
    public void What_is_written_is_in_the_file_and_read_back(DiskCache cache)
    {
        string path = Make("a.img", 1 << 20);
        byte[] before = File.ReadAllBytes(path), data = RandomNumberGenerator.GetBytes(5 * 512);
        HostFile file;
        try
        {
            file = HostFile.Open(new DiskConfig { Path = path, Cache = cache });
        }
        catch (VmmException e) when (e.Error == DiskErrors.NoDirect)
        {
            throw new SkipException("the temporary folder's file system has no O_DIRECT");
        }

        using var image = new RawImage(file);
        image.Length.Should().Be(1 << 20);
        Write(image, 1536, data).Should().Be(DiskResult.Done);
        image.Flush().Should().Be(DiskResult.Done);
        Read(image, 1024, 7 * 512).Should().Equal([.. before[1024..1536], .. data, .. before[4096..4608]]);
        data.CopyTo(before, 1536);
        File.ReadAllBytes(path).Should().Equal(before);
    }

    [Fact]
    public void Discarded_and_zeroed_ranges_read_as_zeros_and_a_hole_gives_storage_back()
    {
        string path = Make("a.img", 1 << 20);
        using var image = new RawImage(HostFile.Open(new DiskConfig { Path = path }));
        image.Discard(65_536, 131_072).Should().Be(DiskResult.Done);
        image.WriteZeroes(512, 1024, mayUnmap: false).Should().Be(DiskResult.Done);
        image.WriteZeroes(8192, 4096, mayUnmap: true).Should().Be(DiskResult.Done);
        byte[] after = File.ReadAllBytes(path);
        after.Length.Should().Be(1 << 20);
        after.AsSpan(512, 1024).IndexOfAnyExcept((byte)0).Should().Be(-1);
        after.AsSpan(8192, 4096).IndexOfAnyExcept((byte)0).Should().Be(-1);
        if (image.CanDiscard)
            after.AsSpan(65_536, 131_072).IndexOfAnyExcept((byte)0).Should().Be(-1);
        after.AsSpan(1536, 100).IndexOfAnyExcept((byte)0).Should().NotBe(-1);
    }

    [Fact]
    public void Second_writer_is_refused_and_readers_share()
    {
        string path = Make("a.img", 4096);
        var writer = new DiskConfig { Path = path };
        var reader = writer with { ReadOnly = true };
        using (HostFile.Open(writer))
        {
            Failure(writer).Error.Should().Be(DiskErrors.InUse);
            Failure(reader).Error.Should().Be(DiskErrors.InUse);
        }

        using (HostFile.Open(reader))
        {
            using var second = HostFile.Open(reader);
            Failure(writer).Error.Should().Be(DiskErrors.InUse);
        }

        HostFile.Open(writer).Dispose();
    }

    [Fact]
    public void File_for_reading_is_opened_for_reading()
    {
        string path = Make("a.img", 4096);
        using var image = new RawImage(HostFile.Open(new DiskConfig { Path = path, ReadOnly = true }));
        image.IsReadOnly.Should().BeTrue();
        Write(image, 0, new byte[512]).Should().Be(DiskResult.Failed, "the descriptor itself refuses");
    }

    [Fact]
    public void What_is_no_disk_is_refused()
    {
        Failure(new DiskConfig { Path = Path.Combine(_folder, "none") }).Error.Should().Be(DiskErrors.Unreadable);
        Failure(new DiskConfig { Path = _folder }).Error.Should().Be(DiskErrors.Unreadable);
        Failure(new DiskConfig { Path = _folder, ReadOnly = true }).Error.Should().Be(DiskErrors.Unreadable);
        Failure(new DiskConfig { Path = Make("empty", 0) }).Error.Should().Be(DiskErrors.BadSize);
        Failure(new DiskConfig { Path = Make("short", 511) }).Error.Should().Be(DiskErrors.BadSize);
        Failure(new DiskConfig { Path = "/dev/null", ReadOnly = true }).Error.Should().Be(DiskErrors.BadSize);
        Failure(new DiskConfig { Path = "/dev/stdin/x" }).Error.Should().Be(DiskErrors.Unreadable);
    }

    [Fact]
    public void Part_of_a_sector_at_the_end_is_not_the_disks()
    {
        string path = Make("odd", 1500);
        byte[] before = File.ReadAllBytes(path);
        using (var image = new RawImage(HostFile.Open(new DiskConfig { Path = path })))
        {
            image.Length.Should().Be(1024);
            Write(image, 512, new byte[512]).Should().Be(DiskResult.Done);
        }

        File.ReadAllBytes(path)[1024..].Should().Equal(before[1024..]);
    }

    // The numbers are of asm-generic/errno-base.h and errno.h, which are those of x86-64.
    [Theory]
    [InlineData(4, HostFileError.Interrupted)] // EINTR
    [InlineData(11, HostFileError.Interrupted)] // EAGAIN
    [InlineData(28, HostFileError.NoSpace)] // ENOSPC
    [InlineData(122, HostFileError.NoSpace)] // EDQUOT
    [InlineData(27, HostFileError.NoSpace)] // EFBIG
    [InlineData(95, HostFileError.Unsupported)] // EOPNOTSUPP
    [InlineData(38, HostFileError.Unsupported)] // ENOSYS
    [InlineData(125, HostFileError.Cancelled)] // ECANCELED
    [InlineData(5, HostFileError.Failed)] // EIO
    [InlineData(30, HostFileError.Failed)] // EROFS
    [InlineData(1, HostFileError.Failed)] // EPERM
    [InlineData(6, HostFileError.Failed)] // ENXIO
    [InlineData(9, HostFileError.Failed)] // EBADF
    [InlineData(12, HostFileError.Failed)] // ENOMEM
    [InlineData(14, HostFileError.Failed)] // EFAULT
    [InlineData(19, HostFileError.Failed)] // ENODEV
    [InlineData(22, HostFileError.Failed)] // EINVAL
    [InlineData(121, HostFileError.Failed)] // EREMOTEIO, of a disk that is gone
    [InlineData(4095, HostFileError.Failed)] // the last there can be
    public void Error_of_the_host_is_what_a_caller_does_about_it(int errno, HostFileError expected) =>
        HostFile.Result(-errno).Should().Be(new HostFileResult(0, expected));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(int.MaxValue)]
    public void Bytes_transferred_are_no_error(int bytes) => HostFile.Result(bytes).Should().Be(new HostFileResult(bytes));

    [SkippableFact]
    public void Full_device_is_no_space()
    {
        Skip.IfNot(File.Exists("/dev/full"), "no /dev/full here");
        using var file = Kvm.Interop.DiskFile.Open("/dev/full", readOnly: false, direct: false);
        using var memory = new AlignedBuffer(512);
        file.WriteAt(0, [new Kvm.Interop.IoVector { IovBase = memory.Buffer.Address, IovLen = 512 }]).Should().Be(-Kvm.Interop.Errno.ENOSPC);
    }
}
