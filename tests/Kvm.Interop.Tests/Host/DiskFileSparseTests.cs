namespace Kvm.Interop.Tests.Host;

/// <summary>What a file holds and where, and moving it inside the kernel.</summary>
public sealed class DiskFileSparseTests : IDisposable
{
    private const int Mebibyte = 1 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-sparse").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string At(string name) => Path.Combine(_folder, name);

    /// <summary>A file of 4 MiB with data in its second.</summary>
    private DiskFile Sparse(string name = "a")
    {
        using (var file = new FileStream(At(name), FileMode.Create))
        {
            file.SetLength(4 * Mebibyte);
            file.Position = Mebibyte;
            byte[] data = new byte[Mebibyte];
            Array.Fill(data, (byte)7);
            file.Write(data);
        }

        return DiskFile.Open(At(name), readOnly: false, direct: false);
    }

    [Fact]
    public void Data_is_found_between_holes()
    {
        using var file = Sparse();
        file.FindData(0, out ulong start, out ulong end).Should().Be(0);
        // A file system without holes says that all of it is data.
        (start, end).Should().BeOneOf((Mebibyte, 2 * Mebibyte), (0, 4 * Mebibyte));
        file.FindData(Mebibyte + 5, out start, out end).Should().Be(0);
        start.Should().Be(Mebibyte + 5);
        file.FindData(4 * Mebibyte, out _, out _).Should().Be(-Errno.ENXIO);
        file.AllocatedBytes.Should().BeInRange(Mebibyte, 4 * Mebibyte + 65536);
    }

    [Fact]
    public void Range_is_copied_to_the_same_place_of_another_file()
    {
        using var from = Sparse();
        File.WriteAllBytes(At("b"), []);
        using var to = DiskFile.Open(At("b"), readOnly: false, direct: false);
        long copied = from.CopyTo(to, Mebibyte, Mebibyte);
        if (copied < 0)
        {
            ((int)-copied).Should().BeOneOf(Errno.EXDEV, Errno.EINVAL, Errno.EOPNOTSUPP, Errno.ENOSYS);
            return;
        }

        copied.Should().BePositive();
        to.CurrentLength.Should().Be(Mebibyte + (ulong)copied);
        File.ReadAllBytes(At("b")).AsSpan(Mebibyte).IndexOfAnyExcept((byte)7).Should().Be(-1);
        from.CopyTo(to, 4 * Mebibyte, 1).Should().Be(0, "nothing is behind the end");
    }

    [Fact]
    public void File_is_cloned_where_the_file_system_can_and_refused_where_it_cannot()
    {
        using var from = Sparse();
        File.WriteAllBytes(At("b"), []);
        using var to = DiskFile.Open(At("b"), readOnly: false, direct: false);
        int result = from.CloneTo(to);
        if (result == 0)
            File.ReadAllBytes(At("b")).Should().Equal(File.ReadAllBytes(At("a")));
        else
            (-result).Should().BeOneOf(Errno.EOPNOTSUPP, Errno.EINVAL, Errno.EXDEV, Errno.ENOTTY);
    }

    [Fact]
    public void File_gets_a_second_name_that_nothing_else_has()
    {
        File.WriteAllText(At("a"), "one");
        DiskFile.Link(At("a"), At("b")).Should().Be(0);
        File.AppendAllText(At("a"), " two");
        File.ReadAllText(At("b")).Should().Be("one two");
        DiskFile.Link(At("a"), At("b")).Should().Be(-Errno.EEXIST);
        DiskFile.Link(At("nothing"), At("c")).Should().Be(-Errno.ENOENT);
    }

    [Fact]
    public void Length_is_changed_and_storage_taken()
    {
        using var file = Sparse();
        file.Resize(Mebibyte).Should().Be(0);
        (file.CurrentLength, file.Length).Should().Be((Mebibyte, 4 * Mebibyte));
        file.Reserve(0, 2 * Mebibyte).Should().BeOneOf(0, -Errno.EOPNOTSUPP);
        file.Resize(ulong.MaxValue).Should().Be(-Errno.EINVAL);
    }

    [Fact]
    public void Regular_file_is_told_from_whatever_else_a_path_leads_to()
    {
        File.WriteAllBytes(At("file"), []);
        File.CreateSymbolicLink(At("link"), "file");
        File.CreateSymbolicLink(At("dangling"), "nothing");
        DiskFile.IsRegularFile(At("file")).Should().BeTrue();
        DiskFile.IsRegularFile(At("link")).Should().BeTrue();
        foreach (string path in (string[])[At("dangling"), At("missing"), _folder, "/dev/zero", "/proc/self/fd"])
            DiskFile.IsRegularFile(path).Should().BeFalse(path);
    }

    [Fact]
    public void Two_names_of_a_file_are_one_file_and_two_files_are_not()
    {
        using var one = Sparse();
        File.CreateSymbolicLink(At("link"), "a");
        using var same = DiskFile.Open(At("link"), readOnly: true, direct: false);
        using var other = Sparse("b");
        same.Identity.Should().Be(one.Identity);
        other.Identity.Should().NotBe(one.Identity);
        other.Identity.Device.Should().Be(one.Identity.Device);
    }

    [Fact]
    public void Closing_ends_the_lock_though_somebody_else_still_has_the_description()
    {
        using var file = Sparse();
        file.TryLock(exclusive: true).Should().Be(0);
        // As a program that is just being started has it, until it runs.
        using FdHandle copy = new(Libc.fcntl(file.Handle.Fd, Libc.F_DUPFD_CLOEXEC, 0));
        file.Dispose();
        file.Dispose();
        using var next = DiskFile.Open(At("a"), readOnly: false, direct: false);
        next.TryLock(exclusive: true).Should().Be(0);
    }
}
