using System.Text;

namespace Kvm.Interop.Tests.Host;

/// <summary>Folders by descriptor, and what is in them by single names.</summary>
public sealed class FolderHandleTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-folder").FullName;
    private readonly FolderHandle _handle;

    public FolderHandleTests()
    {
        FolderHandle.TryOpen(_folder, out var handle).Should().Be(0);
        _handle = handle!;
    }

    public void Dispose()
    {
        _handle.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("/")]
    [InlineData("a\0b")]
    public void Bytes_that_are_no_single_name_are_refused(string name)
    {
        FolderHandle.IsName(Encoding.UTF8.GetBytes(name)).Should().BeFalse();
        _handle.Invoking(h => h.TryMakeFolder(Encoding.UTF8.GetBytes(name))).Should().Throw<ArgumentException>();
        _handle.Invoking(h => h.TryRemove(Encoding.UTF8.GetBytes(name))).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Names_of_255_bytes_are_names_and_longer_ones_are_not()
    {
        FolderHandle.IsName(new byte[256].Select(_ => (byte)'a').ToArray()).Should().BeFalse();
        FolderHandle.IsName(new byte[255].Select(_ => (byte)'a').ToArray()).Should().BeTrue();
        FolderHandle.IsName("..."u8).Should().BeTrue();
    }

    [Fact]
    public void A_file_is_made_written_and_read_back_with_its_mode_and_time()
    {
        _handle.TryCreateFile("file"u8, follow: false, out var file).Should().Be(0);
        using (file)
        {
            Descriptor.Write(file!.Fd, "content"u8).Should().Be(7);
            FolderHandle.TryKeep(file, 0x1a4, 1_000_000_000, 500).Should().Be(0);
        }

        _handle.TryLookAt("file"u8, out var entry).Should().Be(0);
        entry.Should().Be(new FolderEntry(FolderEntryKind.File, 0x1a4, 1_000_000_000, 500));
        _handle.TryOpenFile("file"u8, follow: false, out var again).Should().Be(0);
        using (again)
        {
            FolderHandle.TryLookAt(again!, out var same).Should().Be(0);
            same.Should().Be(entry);
            byte[] bytes = new byte[16];
            Descriptor.Read(again!.Fd, bytes).Should().Be(7);
        }

        _handle.TryRemove("file"u8).Should().Be(0);
        _handle.TryLookAt("file"u8, out _).Should().Be(-Errno.ENOENT);
    }

    [Fact]
    public void A_file_that_is_there_is_emptied_and_keeps_its_name()
    {
        File.WriteAllText(Path.Combine(_folder, "old"), "content");

        _handle.TryCreateFile("old"u8, follow: false, out var file).Should().Be(0);
        using (file)
            FolderHandle.TryEmpty(file!).Should().Be(0);

        new FileInfo(Path.Combine(_folder, "old")).Length.Should().Be(0);
    }

    [Fact]
    public void Links_are_made_read_and_not_followed()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "inside"));
        _handle.TryMakeLink("link"u8, "inside"u8).Should().Be(0);
        _handle.TryMakeLink("link"u8, "other"u8).Should().Be(-Errno.EEXIST);

        byte[] target = new byte[100];
        _handle.TryReadLink("link"u8, target).Should().Be(6);
        Encoding.UTF8.GetString(target, 0, 6).Should().Be("inside");
        _handle.TryLookAt("link"u8, out var entry).Should().Be(0);
        entry.Kind.Should().Be(FolderEntryKind.Link);
        _handle.TryEnter("link"u8, out var folder).Should().Be(-Errno.ENOTDIR);
        folder.Should().BeNull();
        _handle.TryMakeLink("file"u8, "made"u8).Should().Be(0);
        _handle.TryCreateFile("file"u8, follow: false, out _).Should().BeNegative("it is a link");
        File.Exists(Path.Combine(_folder, "made")).Should().BeFalse();
        _handle.TryReadLink("inside"u8, target).Should().Be(-Errno.EINVAL);
    }

    [Fact]
    public void Folders_are_made_entered_and_listed_whatever_their_names()
    {
        _handle.TryMakeFolder("new"u8).Should().Be(0);
        _handle.TryMakeFolder("new"u8).Should().Be(-Errno.EEXIST);
        _handle.TryEnter("new"u8, out var folder).Should().Be(0);
        using (folder)
        {
            byte[] odd = [0xff, (byte)'\n', (byte)' '];
            folder!.TryCreateFile(odd, follow: false, out var file).Should().Be(0);
            file!.Dispose();
            folder.TryList(out var names).Should().Be(0);
            names.Should().ContainSingle().Which.Should().Equal(odd);
            folder.TryRemove(odd).Should().Be(0);
        }

        _handle.TryEnter("missing"u8, out _).Should().Be(-Errno.ENOENT);
        FolderHandle.TryOpen(Path.Combine(_folder, "missing"), out var none).Should().Be(-Errno.ENOENT);
        none.Should().BeNull();
    }

    [Fact]
    public void A_thousand_names_are_all_listed()
    {
        for (int i = 0; i < 1000; i++)
            File.WriteAllBytes(Path.Combine(_folder, $"a-name-that-is-long-enough-for-several-turns-{i}"), []);

        _handle.TryList(out var names).Should().Be(0);

        names.Should().HaveCount(1000).And.OnlyHaveUniqueItems(name => Encoding.UTF8.GetString(name));
    }

    [Fact]
    public void A_descriptor_that_was_given_away_is_not_closed()
    {
        _handle.TryCreateFile("file"u8, follow: false, out var file).Should().Be(0);

        int fd = file!.Release();
        file.Dispose();

        Descriptor.IsOpen(fd).Should().BeTrue();
        new FdHandle(fd).Dispose();
    }
}
