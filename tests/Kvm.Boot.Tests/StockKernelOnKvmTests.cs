using Kvm.Vmm;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Vcpu;

namespace Kvm.Boot.Tests;

/// <summary>Debian's stock cloud kernel over KVM: seconds on a processor's own KVM, minutes where KVM interprets kernels.</summary>
public class StockKernelOnKvmTests
{
    [SkippableFact]
    public void Stock_Debian_kernel_reaches_user_space_and_powers_off()
    {
        TinyMachine.RequireKvm();
        using var system = EngineSelector.OpenKvm();
        Skip.If(HostProber.Probe(system).KernelInterpreted && !GuestFiles.Full, "this host's KVM interprets kernels, so it takes minutes: scripts/test --full");
        var run = LinuxGuest.Boot("stock/bzImage", EngineChoice.Kvm, null, TimeSpan.FromMinutes(20), c => c with { AppendFast = true });
        run.Console.Should().Contain("GUEST-UP 6.1.");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
    }
}
