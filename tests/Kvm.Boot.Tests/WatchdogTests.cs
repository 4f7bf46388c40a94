using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>The watchdog timer under Linux's own driver.</summary>
public class WatchdogTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableFact]
    public void Guest_whose_driver_switched_the_watchdog_on_and_forgets_it_is_ended()
    {
        RequireDriver();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "watchdog", s_limit, c => c with { Watchdog = true });
        run.Console.Should().Contain("i6300ESB", run.Tail).And.Contain("GUEST-WATCHDOG on", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.Watchdog, run.Tail);
        run.Result.ExitCode.Should().Be(ExitCode.Watchdog);
        run.Result.Explanation.Should().Contain("watchdog");
    }

    [SkippableFact]
    public void Guest_that_leaves_its_watchdog_off_is_left_alone()
    {
        RequireDriver();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "dmesg", s_limit, c => c with { Watchdog = true, Virtio = Vmm.Virtio.VirtioTransport.Mmio, Entropy = true });
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Console.Should().Contain("i6300ESB", run.Tail).And.NotContain("BUG:").And.NotContain("WARNING:");
    }

    private static void RequireDriver() =>
        Skip.IfNot(File.ReadLines(GuestFiles.Require("small/config")).Contains("CONFIG_I6300ESB_WDT=y"), "needs a small kernel with this driver: type scripts/guest-kernel small");
}
