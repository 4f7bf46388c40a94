using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>Several real guests under a policy, in this process.</summary>
internal sealed class Fleet : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly List<(string Name, VirtualMachine Machine, DispatcherPlace Place)> _guests = [];
    private readonly List<string> _files = [];

    public Fleet(string policy, PolicySettings? rules = null, int cpus = 1, IReadOnlyList<int>? only = null, OnlineCpus? online = null)
    {
        TinyMachine.RequireKvm();
        int[] all = HostThread.GetAffinity(0);
        Skip.If(all.Length < cpus, $"needs {cpus} CPUs");
        Cpus = only ?? [.. all.Take(cpus)];
        var settings = new DispatcherSettings
        {
            Policy = policy,
            Rules = rules ?? new PolicySettings { Slice = 5_000_000 },
            Topology = HostTopology.Read(Cpus),
            Slots = 64,
        };
        Dispatcher = online is null ? new Dispatcher(settings) : new Dispatcher(settings, online);
    }

    public Dispatcher Dispatcher { get; }

    public IReadOnlyList<int> Cpus { get; }

    /// <summary>The names of guests that ended, in that order.</summary>
    public IEnumerable<string> Ended => Dispatcher.Look().Ended.Select(vm => vm.Request.Name);

    /// <summary>Starts a guest and waits until the scheduler has it.</summary>
    public void Start(string name, byte[] kernel, JobSpec? job = null, int[]? affinity = null, string of = "")
    {
        string path = Path.Combine(Path.GetTempPath(), $"kvmsharp-fleet-{Guid.NewGuid():n}");
        File.WriteAllBytes(path, kernel);
        _files.Add(path);
        var place = Dispatcher.Join(new SchedulingRequest { Name = name, Job = job ?? new JobSpec(), Affinity = affinity ?? [], Class = of }, null);
        var machine = VirtualMachine.Build(
            new VmConfig { KernelPath = path, Name = name, MemoryBytes = 16 << 20, Engine = EngineChoice.Kvm, Timeout = s_patience, Cpus = (job ?? new JobSpec()).Vcpus },
            new VmHost { Seats = place.Seats });
        _guests.Add((name, machine, place));
        machine.Start();
        Until(view => !view.Vms.Any(vm => vm.Name == name && vm.Vcpus.Any(vcpu => vcpu.State == "starting")));
    }

    /// <summary>Waits until the view has it, by looking: the guests run on meanwhile.</summary>
    public SchedulingView Until(Func<SchedulingView, bool> has)
    {
        var view = Dispatcher.Look();
        using var pause = new ManualResetEventSlim();
        for (long deadline = HostClock.Monotonic() + (long)s_patience.TotalNanoseconds; !has(view); view = Dispatcher.Look())
        {
            HostClock.Monotonic().Should().BeLessThan(deadline, $"it should have happened by now: {string.Join("; ", view.Vms)}");
            pause.Wait(2);
        }

        return view;
    }

    /// <summary>Waits until all guests have had about the same CPU time: where the least is what counts, who came late catches up first.</summary>
    public void UntilEven() => Until(view => view.Vms.Max(vm => vm.Vcpus[0].Ran) - view.Vms.Min(vm => vm.Vcpus[0].Ran) <= 20_000_000);

    public SchedulingView UntilEnded(int count) => Until(view => view.Ended.Count >= count);

    /// <summary>Waits for a guest without asking the dispatcher.</summary>
    public RunResult Result(string name)
    {
        var run = _guests.First(g => g.Name == name).Machine.Ended;
        run.Wait(s_patience).Should().BeTrue();
        return run.Result;
    }

    public RunResult Stop(string name)
    {
        var (_, machine, place) = _guests.First(g => g.Name == name);
        machine.Stop(VmOutcome.StoppedByUser);
        machine.Ended.Wait(s_patience).Should().BeTrue();
        Dispatcher.Leave(place.Vm);
        return machine.Ended.Result;
    }

    public static long Ran(SchedulingView view, string name) => view.Vms.Where(vm => vm.Name == name).Sum(vm => vm.Vcpus.Sum(vcpu => vcpu.Ran));

    public void Dispose()
    {
        foreach (var (_, machine, place) in _guests)
        {
            machine.Dispose();
            place.Dispose();
        }

        Dispatcher.Dispose();
        _files.ForEach(File.Delete);
        Dispatcher.Failure.Should().BeNull();
    }
}
