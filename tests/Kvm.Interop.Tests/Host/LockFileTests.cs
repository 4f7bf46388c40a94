namespace Kvm.Interop.Tests.Host;

public sealed class LockFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvm-lock-").FullName;

    private string FilePath => Path.Combine(_folder, "lock");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void The_file_is_made_for_its_user_alone()
    {
        using LockFile locked = LockFile.Acquire(FilePath);

        File.GetUnixFileMode(FilePath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    [Fact]
    public void A_second_one_waits_until_the_first_is_given_up()
    {
        LockFile first = LockFile.Acquire(FilePath);
        using ManualResetEventSlim second = new();
        Thread waiter = new(() =>
        {
            using LockFile locked = LockFile.Acquire(FilePath);
            second.Set();
        });
        waiter.Start();

        second.Wait(50).Should().BeFalse();
        first.Dispose();

        waiter.Join(TimeSpan.FromSeconds(30)).Should().BeTrue();
        second.IsSet.Should().BeTrue();
    }

    [Fact]
    public void A_second_one_that_does_not_wait_has_it_when_the_first_is_given_up()
    {
        LockFile first = LockFile.TryAcquire(FilePath)!;
        LockFile.TryAcquire(FilePath).Should().BeNull();
        first.Dispose();

        using LockFile? second = LockFile.TryAcquire(FilePath);
        second.Should().NotBeNull();
    }

    [Fact]
    public void Places_of_a_file_are_locks_of_their_own()
    {
        using LockFile first = LockFile.TryAcquire(FilePath, place: 5)!;
        LockFile.TryAcquire(FilePath, place: 5).Should().BeNull();
        using LockFile? far = LockFile.TryAcquire(FilePath, place: long.MaxValue >> 1);
        far.Should().NotBeNull();
        LockFile.TryAcquire(FilePath).Should().BeNull("the whole file has every place");
        new FileInfo(FilePath).Length.Should().Be(0);
    }

    [Fact]
    public void A_folder_that_is_not_there_is_told()
    {
        Action acquire = () => LockFile.Acquire(Path.Combine(_folder, "no", "lock"));

        acquire.Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOENT);
    }

    [Fact]
    public void Shared_locks_are_together_and_exclude_one_alone()
    {
        using LockFile one = LockFile.TryAcquireShared(FilePath)!;
        LockFile other = LockFile.AcquireShared(FilePath);
        LockFile.TryAcquire(FilePath).Should().BeNull();
        other.Dispose();
        LockFile.TryAcquire(FilePath).Should().BeNull();
        one.Dispose();
        using LockFile? alone = LockFile.TryAcquire(FilePath);
        alone.Should().NotBeNull();
        LockFile.TryAcquireShared(FilePath).Should().BeNull();
    }

    [Fact]
    public void Names_of_a_folder_are_made_durable_and_a_missing_one_is_told()
    {
        DiskFile.SyncFolder(_folder).Should().Be(0);
        DiskFile.SyncFolder(Path.Combine(_folder, "no")).Should().Be(-Errno.ENOENT);
        File.WriteAllText(FilePath, "");
        DiskFile.SyncFolder(FilePath).Should().BeNegative();
    }

    [Fact]
    public void This_process_acts_as_its_effective_user() =>
        (HostUser.EffectiveId == 0).Should().Be(Environment.IsPrivilegedProcess);
}
