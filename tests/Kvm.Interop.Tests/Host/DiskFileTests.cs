namespace Kvm.Interop.Tests.Host;

public sealed unsafe class DiskFileTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void Opened_file_waits_for_its_storage()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[4096]);
            using DiskFile file = DiskFile.Open(path, readOnly: false, direct: false);
            // An io_uring would answer EAGAIN for a file that does not want to wait.
            int flags = Libc.fcntl(file.Handle.Fd, Libc.F_GETFL, 0);
            (flags & Libc.O_NONBLOCK).Should().Be(0);
            (flags & Libc.O_RDWR).Should().Be(Libc.O_RDWR);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Pieces_go_to_their_place_and_come_back()
    {
        File.WriteAllBytes(_path, new byte[2000]);
        using var file = DiskFile.Open(_path, readOnly: false, direct: false);
        (file.Length, file.Alignment, file.IsBlockDevice).Should().Be((2000, 1, false));
        byte[] sent = [1, 2, 3, 4, 5], got = new byte[7];
        fixed (byte* from = sent, to = got)
        {
            file.WriteAt(1000, [new IoVector { IovBase = (nint)from, IovLen = 2 }, new IoVector { IovBase = (nint)(from + 2), IovLen = 3 }]).Should().Be(5);
            file.ReadAt(999, [new IoVector { IovBase = (nint)to, IovLen = 7 }]).Should().Be(7);
            file.ReadAt(1999, [new IoVector { IovBase = (nint)to + 6, IovLen = 1 }, new IoVector { IovBase = (nint)to, IovLen = 0 }]).Should().Be(1);
            file.ReadAt(2000, [new IoVector { IovBase = (nint)to, IovLen = 7 }]).Should().Be(0);
        }

        got.Should().Equal(0, 1, 2, 3, 4, 5, 0);
        file.Flush().Should().Be(0);
    }

    [Fact]
    public void Lock_of_one_description_excludes_another_of_the_same_process()
    {
        File.WriteAllBytes(_path, new byte[512]);
        using var first = DiskFile.Open(_path, readOnly: false, direct: false);
        using var second = DiskFile.Open(_path, readOnly: false, direct: false);
        first.TryLock(exclusive: true).Should().Be(0);
        second.TryLock(exclusive: true).Should().Be(-Errno.EAGAIN);
        second.TryLock(exclusive: false).Should().Be(-Errno.EAGAIN);
        first.TryLock(exclusive: false).Should().Be(0);
        second.TryLock(exclusive: false).Should().Be(0);
    }

    [Fact]
    public void What_cannot_be_opened_says_why()
    {
        var open = (string path) => () => DiskFile.Open(path, readOnly: true, direct: false).Dispose();
        open("/nonexistent/x").Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);
        open(Path.GetTempPath()).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EISDIR);
        open("/proc/self/fd/0x").Should().Throw<KvmException>();
    }

    [Fact]
    public void Random_numbers_fill_all_of_a_buffer()
    {
        byte[] bytes = new byte[100_000];
        HostRandom.Fill(bytes);
        HostRandom.Fill([]);
        bytes.Distinct().Should().HaveCount(256);
        bytes.AsSpan(99_900).IndexOfAnyExcept((byte)0).Should().NotBe(-1);
    }
}
