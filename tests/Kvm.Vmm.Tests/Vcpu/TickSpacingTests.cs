using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tests.Vcpu;

/// <summary>When a busy vCPU's timer comes, where KVM interprets kernels.</summary>
public sealed class TickSpacingTests
{
    private const uint TscKhz = 1_000_000;
    private const ulong Spacing = 20_000_000;

    [Theory]
    [InlineData(1_000_000, 500_000, 20_500_000, "a tick too soon after the last one is put off")]
    [InlineData(50_000_000, 500_000, 50_000_000, "a later one stays")]
    [InlineData(1_000_000, 0, 1_000_000, "nobody was busy")]
    [InlineData(20_500_000, 500_000, 20_500_000, "just far enough")]
    public void The_next_deadline_of_a_vCPU_that_was_busy_until(ulong requested, ulong fired, ulong expected, string because) =>
        TickSpacing.Next(requested, fired, Spacing).Should().Be(expected, because);

    [Fact]
    public void A_time_stamp_counter_at_its_end_does_not_wrap() =>
        TickSpacing.Next(5, ulong.MaxValue - 1, Spacing).Should().Be(5);

    [Fact]
    public void No_deadline_comes_sooner_than_asked() =>
        Prop.ForAll<ulong, ulong>((requested, fired) => TickSpacing.Next(requested, fired, Spacing) >= requested).QuickCheckThrowOnFailure();

    [SkippableFact]
    public void Only_the_deadline_is_handled_and_the_guests_value_reaches_the_timer()
    {
        int errno = KvmSystem.TryOpen("/dev/kvm", out KvmSystem? system);
        Skip.If(errno != 0, $"/dev/kvm: {Errno.TextOf(errno)}");
        using (system)
        {
            using var vm = system!.CreateVm();
            vm.CreateIrqChip();
            using var vcpu = vm.CreateVcpu(0);
            var ticks = new TickSpacing(vcpu, TscKhz);

            vcpu.RunPage.Msr = vcpu.RunPage.Msr with { Index = 0xc000_0082, Data = 1 };
            ticks.TryHandleWriteMsr().Should().BeFalse("LSTAR is somebody else's");

            vcpu.RunPage.Msr = vcpu.RunPage.Msr with { Index = TickSpacing.Msr, Data = 0 };
            ticks.TryHandleWriteMsr().Should().BeTrue();
            vcpu.RunPage.Msr.Error.Should().Be(0);
            ticks.Delayed.Should().Be(0, "disarming is done at once");
        }
    }

    [Fact]
    public void A_thread_that_waits_is_told_from_one_that_runs()
    {
        long before = HostThread.CurrentSleeps();
        using var never = new EventFd();
        Span<PollFd> fds = [new PollFd { Fd = never.Handle.Fd, Events = PollFd.POLLIN }];
        Descriptor.Poll(fds, timeoutMilliseconds: 5).Should().Be(0);
        HostThread.CurrentSleeps().Should().BeGreaterThan(before);
    }
}
