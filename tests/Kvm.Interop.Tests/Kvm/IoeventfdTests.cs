namespace Kvm.Interop.Tests.Kvm;

public sealed class IoeventfdTests
{
    [SkippableFact]
    public void A_port_write_signals_the_eventfd_and_does_not_end_the_run()
    {
        using TinyGuest guest = new([.. GuestCode.Out(0x70, 5), .. GuestCode.Hlt]);
        using EventFd doorbell = new();
        guest.Vm.Ioeventfd(doorbell, 0x70, 1, port: true);

        guest.Run().Should().Be(KvmExit.Hlt);

        doorbell.Drain().Should().Be(1);
    }

    [SkippableFact]
    public void Only_the_matching_value_signals_and_others_end_the_run()
    {
        using TinyGuest guest = new([.. GuestCode.Out(0x70, 5), .. GuestCode.Out(0x70, 6), .. GuestCode.Hlt]);
        using EventFd doorbell = new();
        guest.Vm.Ioeventfd(doorbell, 0x70, 1, port: true, match: 6);

        guest.RunToOut(0x70).Should().Be(5);
        guest.Run().Should().Be(KvmExit.Hlt);

        doorbell.Drain().Should().Be(1);
    }

    [SkippableFact]
    public void A_memory_write_signals_the_eventfd()
    {
        using TinyGuest guest = new([.. GuestCode.DataSegment(0xf000), .. GuestCode.Store(0x0050, 1), .. GuestCode.Store(0x0050, 2), .. GuestCode.Hlt]);
        using EventFd doorbell = new();
        guest.Vm.Ioeventfd(doorbell, 0xf0050, 1, port: false);

        guest.Run().Should().Be(KvmExit.Hlt);

        doorbell.Drain().Should().Be(2);
    }

    [SkippableFact]
    public void A_removed_doorbell_ends_the_run_again()
    {
        using TinyGuest guest = new([.. GuestCode.Out(0x70, 5), .. GuestCode.Hlt]);
        using EventFd doorbell = new();
        guest.Vm.Ioeventfd(doorbell, 0x70, 1, port: true, match: 5);
        guest.Vm.IoeventfdRemove(doorbell, 0x70, 1, port: true, match: 5);

        guest.RunToOut(0x70).Should().Be(5);

        doorbell.Drain().Should().Be(0);
    }

    [SkippableFact]
    public void A_second_doorbell_at_the_same_place_is_refused()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        using EventFd doorbell = new();
        using EventFd other = new();
        guest.Vm.Ioeventfd(doorbell, 0x70, 1, port: true);

        FluentActions.Invoking(() => guest.Vm.Ioeventfd(other, 0x70, 1, port: true)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EEXIST);
    }

    [SkippableFact]
    public void A_width_of_three_is_refused()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        using EventFd doorbell = new();

        FluentActions.Invoking(() => guest.Vm.Ioeventfd(doorbell, 0x70, 3, port: true)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
    }
}
