using Kvm.Interop;
using Kvm.Vmm.Scheduling;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>CPUs that go away under real guests, as the kernel's list of online CPUs tells it; the list is the test's, the threads and CPUs are real.</summary>
public sealed class HotplugGuestTests : IDisposable
{
    private readonly string _list = Path.GetTempFileName();
    private readonly int[] _cpus = [.. HostThread.GetAffinity(0).Take(2)];

    public void Dispose() => File.Delete(_list);

    [SkippableTheory]
    [InlineData("rr")]
    [InlineData("host")]
    public void A_guest_leaves_a_CPU_that_goes_offline_and_both_are_used_again_when_it_is_back(string policy)
    {
        using var fleet = Fleet(policy);
        fleet.Start("a", UserKernel.Spin());
        fleet.Start("b", UserKernel.Spin());
        Both(fleet);

        Online(_cpus[0]);
        fleet.Until(view => view.Vms.All(vm => vm.Vcpus[0].Cpu == _cpus[0]));
        fleet.Until(view => view.Vms.All(vm => HostThread.GetAffinity(vm.Vcpus[0].ThreadId).SequenceEqual([_cpus[0]])));

        Online(_cpus);
        Both(fleet);
    }

    [SkippableFact]
    public void A_guest_pinned_to_a_CPU_that_goes_offline_waits_with_the_reason_and_runs_on_when_it_is_back()
    {
        using var fleet = Fleet("rr");
        fleet.Start("pinned", UserKernel.Spin(), affinity: [_cpus[1]]);
        fleet.Until(view => view.Vms[0].Vcpus[0].State == "running");

        Online(_cpus[0]);
        var stranded = fleet.Until(view => view.Vms[0].Vcpus[0].State == "no-cpu");
        long ran = Scheduling.Fleet.Ran(stranded, "pinned");
        SchedulingText.Why(fleet.Dispatcher.Look(why: true), "pinned").Should().Contain($"none of the CPUs it may run on can be used now").And.Contain($"(CPUs {_cpus[1]})");

        Online(_cpus);
        var back = fleet.Until(view => view.Vms[0].Vcpus[0].State == "running" && Scheduling.Fleet.Ran(view, "pinned") > ran);
        back.Vms[0].Vcpus[0].Cpu.Should().Be(_cpus[1]);
        back.Vms[0].Vcpus[0].AffinityFailures.Should().Be(0);
    }

    private Fleet Fleet(string policy)
    {
        Skip.If(_cpus.Length < 2, "needs 2 CPUs");
        Online(_cpus);
        return new Fleet(policy, cpus: 2, online: new OnlineCpus(_list, () => _cpus));
    }

    /// <summary>The list as the kernel would have it now; replaced at once.</summary>
    private void Online(params int[] cpus)
    {
        using var file = new FileStream(_list, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.Write(System.Text.Encoding.ASCII.GetBytes(CpuList.Format(cpus).PadRight(8) + "\n"));
    }

    private void Both(Fleet fleet) => fleet.Until(view => _cpus.All(cpu => view.Vms.Any(vm => vm.Vcpus[0].Cpu == cpu)));
}
