namespace Kvm.Interop.Tests.Host;

public sealed class SealedFileTests
{
    [Fact]
    public void Copies_share_the_content_and_keep_what_is_written_to_themselves()
    {
        using var file = SealedFile.Create("test", 8 << 20);
        byte[] content = new byte[3 * 4096];
        content.AsSpan().Fill(9);
        file.Write(4 << 20, content);
        file.Seal();
        using var one = HostMapping.CopyOf(file, 4 << 20, 4 << 20);
        using var two = HostMapping.CopyOf(file, 4 << 20, 4 << 20);
        one.Span[5000] = 1;
        (one.Span[4999], one.Span[5000], two.Span[5000]).Should().Be(((byte)9, (byte)1, (byte)9));
        one.Span[(3 * 4096)..].ToArray().Should().OnlyContain(b => b == 0);
        one.ResidentBytes().Should().Be(4096, "one page was written");
        two.ResidentBytes().Should().Be(0);
    }

    [Fact]
    public void Discarded_pages_of_a_copy_read_as_zeros_not_as_the_file()
    {
        using var file = SealedFile.Create("test", 4 << 20);
        file.Write(0, new byte[] { 1, 2, 3 });
        file.Seal();
        using var copy = HostMapping.CopyOf(file, 0, 4 << 20);
        copy.Discard(0, 4096).Should().Be(0);
        copy.Span[0].Should().Be(0);
        copy.Span[0] = 4;
        copy.Span[0].Should().Be(4);
    }

    [Fact]
    public void Sealed_file_is_neither_written_nor_shortened_nor_mapped_beyond_its_end()
    {
        using var file = SealedFile.Create("test", 8192);
        file.Seal();
        file.Invoking(f => f.Write(0, new byte[] { 1 })).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EPERM);
        Libc.ftruncate(file.Handle.Fd, 4096).Should().Be(-1);
        FluentActions.Invoking(() => HostMapping.CopyOf(file, 4096, 8192)).Should().Throw<KvmException>();
        FluentActions.Invoking(() => HostMapping.CopyOf(file, long.MaxValue, 4096)).Should().Throw<KvmException>();
        file.TryRead(4096, new byte[4096]).Should().BeTrue();
        file.TryRead(4097, new byte[4096]).Should().BeFalse();
        using var again = SealedFile.Open(file.Handle.Duplicate());
        again.Length.Should().Be(8192);
    }

    [Fact]
    public void File_that_could_change_is_refused()
    {
        using var open = SealedFile.Create("test", 4096);
        FluentActions.Invoking(() => SealedFile.Open(open.Handle.Duplicate())).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
        using var shared = HostMapping.Shared(4096, "test");
        FluentActions.Invoking(() => SealedFile.Open(shared.File!.Duplicate())).Should().Throw<KvmException>("its length is sealed, its content is not");
        using var sockets = new EventFd();
        FluentActions.Invoking(() => SealedFile.Open(sockets.Handle.Duplicate())).Should().Throw<KvmException>();
    }
}
