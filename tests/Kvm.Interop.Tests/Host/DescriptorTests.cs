using System.Diagnostics;

namespace Kvm.Interop.Tests.Host;

/// <summary>Descriptors a VMM waits for: eventfd, timerfd, pidfd, and epoll that waits for all of them.</summary>
public sealed class DescriptorTests
{
    private const int Limit = 10_000; // milliseconds

    [Fact]
    public void An_eventfd_adds_up_and_drains_to_zero()
    {
        using EventFd fd = new();
        fd.Drain().Should().Be(0);

        fd.Signal();
        fd.Signal(4);

        fd.Drain().Should().Be(5);
        fd.Drain().Should().Be(0);
    }

    [Fact]
    public void A_full_eventfd_stays_signalled_and_does_not_block()
    {
        using EventFd fd = new();
        fd.Signal(ulong.MaxValue - 1);

        fd.Signal();

        fd.Drain().Should().Be(ulong.MaxValue - 1);
    }

    [Fact]
    public void A_closed_eventfd_refuses()
    {
        EventFd fd = new();
        fd.Dispose();

        FluentActions.Invoking(() => fd.Signal()).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public void Signalling_and_draining_allocate_nothing()
    {
        using EventFd fd = new();
        using Epoll epoll = new();
        epoll.Add(fd.Handle.Fd, EpollEvents.In, 1);
        EpollEvent[] events = new EpollEvent[4];

        Allocation.Of(_ => Use(), 1000).Should().Be(0);

        void Use()
        {
            fd.Signal();
            epoll.Wait(events, -1);
            fd.Drain();
        }
    }

    [Fact]
    public void Epoll_tells_which_descriptor_is_ready()
    {
        using Epoll epoll = new();
        using EventFd quiet = new();
        using EventFd loud = new();
        epoll.Add(quiet.Handle.Fd, EpollEvents.In, 11);
        epoll.Add(loud.Handle.Fd, EpollEvents.In, 0xfedc_ba98_7654_3210);
        EpollEvent[] events = new EpollEvent[4];
        epoll.Wait(events, 0).Should().Be(0);

        loud.Signal();

        Await(epoll, events).Should().Be(1);
        events[0].Data.Should().Be(0xfedc_ba98_7654_3210);
        events[0].Events.Should().Be(EpollEvents.In);
    }

    [Fact]
    public void A_removed_descriptor_is_not_waited_for_and_a_changed_one_is()
    {
        using Epoll epoll = new();
        using EventFd fd = new();
        epoll.Add(fd.Handle.Fd, EpollEvents.In, 1);
        fd.Signal();
        EpollEvent[] events = new EpollEvent[1];

        epoll.Modify(fd.Handle.Fd, EpollEvents.Out, 2);
        Await(epoll, events).Should().Be(1);
        (events[0].Data, events[0].Events).Should().Be((2UL, EpollEvents.Out));
        epoll.Remove(fd.Handle.Fd);

        epoll.Wait(events, 0).Should().Be(0);
    }

    [Fact]
    public void Adding_a_descriptor_twice_is_refused()
    {
        using Epoll epoll = new();
        using EventFd fd = new();
        epoll.Add(fd.Handle.Fd, EpollEvents.In, 1);

        FluentActions.Invoking(() => epoll.Add(fd.Handle.Fd, EpollEvents.In, 1)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EEXIST);
        FluentActions.Invoking(() => epoll.Wait([], 0)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
    }

    [Fact]
    public void A_timer_becomes_readable_when_it_expires_and_counts()
    {
        using Epoll epoll = new();
        using TimerFd timer = new();
        epoll.Add(timer.Handle.Fd, EpollEvents.In, 1);
        EpollEvent[] events = new EpollEvent[1];
        Stopwatch watch = Stopwatch.StartNew();

        timer.Arm(20_000_000);

        timer.Drain().Should().Be(0);
        Await(epoll, events).Should().Be(1);
        watch.ElapsedMilliseconds.Should().BeGreaterThanOrEqualTo(19);
        timer.Drain().Should().Be(1);
    }

    [Fact]
    public void A_timer_of_zero_expires_at_once_and_an_interval_repeats()
    {
        using Epoll epoll = new();
        using TimerFd timer = new();
        epoll.Add(timer.Handle.Fd, EpollEvents.In, 1);
        EpollEvent[] events = new EpollEvent[1];

        timer.Arm(0, 1_000_000);
        ulong count = 0;
        while (count < 3)
        {
            Await(epoll, events).Should().Be(1);
            count += timer.Drain();
        }

        timer.Disarm();
        timer.Drain();
        epoll.Wait(events, 5).Should().Be(0);
    }

    [Fact]
    public void A_process_descriptor_becomes_readable_when_the_process_ends()
    {
        using Process process = Process.Start(new ProcessStartInfo("sleep", ["0.05"]))!;
        using PidFd pid = new(process.Id);
        using Epoll epoll = new();
        epoll.Add(pid.Handle.Fd, EpollEvents.In, 7);
        EpollEvent[] events = new EpollEvent[1];

        Await(epoll, events).Should().Be(1);

        process.WaitForExit();
        process.ExitCode.Should().Be(0);
    }

    [Fact]
    public void A_process_that_is_not_there_has_no_descriptor()
    {
        FluentActions.Invoking(() => new PidFd(int.MaxValue)).Should().Throw<KvmException>().Which.Errno.Should().BeOneOf(Errno.ESRCH, Errno.EINVAL);
    }

    [Fact]
    public void A_descriptor_is_closed_once_and_not_used_after()
    {
        FdHandle handle = new(Libc.eventfd(0, Libc.EFD_CLOEXEC));
        int number = handle.Fd;

        handle.Dispose();
        handle.Dispose();

        Libc.fcntl(number, Libc.F_GETFL, 0).Should().Be(-1);
        FluentActions.Invoking(() => handle.Fd).Should().Throw<ObjectDisposedException>();
    }

    /// <summary>Waits for an event, also where the runtime's own signals interrupt the wait (a collection suspends threads by one).</summary>
    private static int Await(Epoll epoll, EpollEvent[] events)
    {
        Stopwatch watch = Stopwatch.StartNew();
        int count = 0;
        while (count == 0 && watch.ElapsedMilliseconds < Limit)
            count = epoll.Wait(events, Limit);
        return count;
    }

    [Fact]
    public void A_signal_by_pidfd_ends_a_child_whose_end_is_taken_once()
    {
        using Process child = Process.Start("sleep", "1000");
        using PidFd process = new(child.Id);
        process.Signal(9).Should().Be(0);
        child.WaitForExit(Limit).Should().BeTrue();
        process.Signal(9).Should().Be(-Errno.ESRCH);
        PidFd.Reap(child.Id).Should().BeFalse("the runtime took it");
    }

    [Fact]
    public void A_folder_is_synced_and_what_is_none_is_told()
    {
        string folder = Directory.CreateTempSubdirectory("kvm-sync-").FullName;
        Descriptor.SyncFolder(folder).Should().Be(0);
        File.WriteAllText(Path.Combine(folder, "file"), "");
        Descriptor.SyncFolder(Path.Combine(folder, "file")).Should().Be(-Errno.ENOTDIR);
        Directory.Delete(folder, recursive: true);
        Descriptor.SyncFolder(folder).Should().Be(-Errno.ENOENT);
    }
}
