namespace Kvm.Interop.Tests.Host;

public sealed class FolderWatchTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvm-watch-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void What_is_made_written_moved_and_removed_makes_it_readable_once()
    {
        string path = Path.Combine(_folder, "file");
        using FolderWatch watch = new(_folder);
        IsReadable(watch).Should().BeFalse();
        foreach (Action change in (Action[])
            [() => File.WriteAllText(path, "a"), () => File.AppendAllText(path, "b"), () => File.Move(path, path + ".old"), () => File.Delete(path + ".old")])
        {
            change();
            IsReadable(watch).Should().BeTrue();
            watch.Drain();
            IsReadable(watch).Should().BeFalse();
        }
    }

    [Fact]
    public void A_folder_that_is_not_there_is_told() =>
        FluentActions.Invoking(() => new FolderWatch(Path.Combine(_folder, "no"))).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);

    private static bool IsReadable(FolderWatch watch) => Descriptor.Poll([new PollFd { Fd = watch.Handle.Fd, Events = PollFd.POLLIN }], 0) == 1;
}
