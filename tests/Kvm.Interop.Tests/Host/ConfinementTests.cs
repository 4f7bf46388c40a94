using System.Runtime.ExceptionServices;

namespace Kvm.Interop.Tests.Host;

/// <summary>What a thread gives up it has given up; each on a thread of its own, which ends with the test.</summary>
public sealed class ConfinementTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvm-confined-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [SkippableFact]
    public void A_thread_has_the_paths_it_was_allowed_and_no_others()
    {
        Skip.If(Landlock.Version == 0, "the kernel has no Landlock");
        string readable = Directory.CreateDirectory(Path.Combine(_folder, "readable")).FullName, own = Directory.CreateDirectory(Path.Combine(_folder, "own")).FullName;
        string file = Path.Combine(_folder, "file"), other = Path.Combine(_folder, "other");
        foreach (string path in (string[])[Path.Combine(readable, "a"), file, other])
        {
            File.WriteAllText(path, "text");
        }

        OnThread(() =>
        {
            using Landlock paths = Landlock.Begin(network: false);
            paths.Allow(readable, PathRights.Read);
            paths.Allow(own, PathRights.Read | PathRights.Write | PathRights.Change);
            paths.Allow(file, PathRights.Read | PathRights.Write);
            paths.Allow(Path.Combine(_folder, "missing"), PathRights.Read);
            // What the runtime of this test loads when it is first needed.
            paths.Allow(AppContext.BaseDirectory, PathRights.Read);
            paths.Allow(Path.GetDirectoryName(typeof(object).Assembly.Location)!, PathRights.Read);
            paths.Enter();

            File.ReadAllText(Path.Combine(readable, "a")).Should().Be("text");
            File.WriteAllText(file, "new");
            File.WriteAllText(Path.Combine(own, "b"), "new");
            File.Move(Path.Combine(own, "b"), Path.Combine(own, "c"));
            File.Delete(Path.Combine(own, "c"));
            foreach (Action forbidden in (Action[])
                [
                    () => File.ReadAllText(other), () => File.WriteAllText(other, "x"), () => File.WriteAllText(Path.Combine(readable, "a"), "x"), () => File.Delete(Path.Combine(readable, "a")),
                    () => File.WriteAllText(Path.Combine(_folder, "made"), "x"), () => File.ReadAllText("/etc/passwd"), () => File.OpenHandle(file + "/../other").Dispose(),
                ])
            {
                forbidden.Should().Throw<UnauthorizedAccessException>();
            }
        });
        File.ReadAllText(other).Should().Be("text", "the other threads have what they had");
        File.ReadAllText(file).Should().Be("new");
    }

    [SkippableFact]
    public void A_thread_without_them_makes_no_process_and_threads_still()
    {
        Skip.IfNot(File.ReadAllText("/proc/self/status").Contains("Seccomp:", StringComparison.Ordinal), "the kernel has no filters");
        SyscallFilter.Count.Should().BeGreaterThan(50);
        bool made = false;
        string status = "";
        OnThread(() =>
        {
            SyscallFilter.Install(allThreads: false).Should().Be(0);
            Thread inner = new(() => made = true);
            inner.Start();
            inner.Join(TimeSpan.FromSeconds(30)).Should().BeTrue();
            status = File.ReadAllText($"/proc/self/task/{ThreadSignals.CurrentThreadId()}/status");
            Libc.syscall(Libc.SYS_unshare, 0, 0, 0).Should().Be(-1);
            Errno.Last.Should().Be(Errno.EPERM);
            Libc.syscall(Libc.SYS_clone3, 0, 0, 0).Should().Be(-1);
            Errno.Last.Should().Be(Errno.ENOSYS);
            Libc.syscall(Libc.SYS_clone, 17, 0, 0, 0).Should().Be(-1, "that would be a process");
            DetachedProcess.Become("/bin/true", []).Should().Be(-Errno.EPERM);
        });
        made.Should().BeTrue();
        status.Should().MatchRegex("NoNewPrivs:\\s1").And.MatchRegex("Seccomp:\\s2");
    }

    private static void OnThread(Action work)
    {
        Exception? thrown = null;
        Thread thread = new(() =>
        {
            try
            {
                work();
            }
            catch (Exception e)
            {
                thrown = e;
            }
        });
        thread.Start();
        thread.Join();
        if (thrown is not null)
        {
            ExceptionDispatchInfo.Throw(thrown);
        }
    }
}
