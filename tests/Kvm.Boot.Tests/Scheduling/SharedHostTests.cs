using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>Guests of several vCPUs, and what guests that want every CPU leave to the rest of the host.</summary>
public sealed class SharedHostTests
{
    private static readonly PolicySettings s_slice5 = new() { Slice = 5_000_000 };

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Only_vCPUs_of_a_gang_run_in_the_same_slices(bool gang)
    {
        using var fleet = new Fleet("rr", s_slice5, cpus: 2);
        fleet.Start("two", MultiprocessorTests.SpinOnAll(2), new JobSpec { Vcpus = 2, Gang = gang });
        fleet.Start("one", UserKernel.Spin());
        fleet.Start("another", UserKernel.Spin());
        int apart = 0, looks = 0;

        fleet.Until(view =>
        {
            var states = view.Vms[0].Vcpus.Select(vcpu => vcpu.State).ToList();
            looks++;
            apart += states.Contains("running") && states.Contains("ready") ? 1 : 0;
            return looks >= 40 && view.Vms.All(vm => vm.Vcpus.All(vcpu => vcpu.Slices >= 8));
        });

        // One that is taken for halted, its thread having waited for something, may come late.
        if (gang)
            apart.Should().BeLessThan(looks / 4, "others come between them where each takes its own turns");
        else
            apart.Should().BePositive("there are two CPUs for four, and each takes its own turns");
    }

    [SkippableFact]
    public void A_vCPU_that_runs_is_ordinary_work_though_its_dispatcher_is_none()
    {
        using var fleet = new Fleet("rr", s_slice5, cpus: 2);
        for (int i = 0; i < 4; i++)
            fleet.Start($"g{i}", UserKernel.Spin());
        Skip.IfNot(fleet.Dispatcher.NoRealTime is null, "the host permits no real time");
        int looks = 0;

        fleet.Until(before =>
        {
            foreach (var (name, vcpu) in Running(before))
            {
                bool realTime = HostThread.IsRealTime(vcpu.ThreadId);
                // Only while it is told to leave, and has not, it goes before ordinary work.
                if (Running(fleet.Dispatcher.Look()).Any(now => now.Name == name && now.Vcpu.Slices == vcpu.Slices))
                {
                    realTime.Should().BeFalse($"{name} is in the guest");
                    looks++;
                }
            }

            return looks >= 20;
        });
    }

    private static IEnumerable<(string Name, VcpuView Vcpu)> Running(SchedulingView view) =>
        view.Vms.Where(vm => vm.Vcpus[0].State == "running").Select(vm => (vm.Name, vm.Vcpus[0]));
}
