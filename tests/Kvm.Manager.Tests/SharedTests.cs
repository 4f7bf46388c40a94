using Kvm.Cli.Tests;
using Kvm.Manager.Working;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Tests;

/// <summary>Machines of one process are to everybody like machines of processes of their own.</summary>
public sealed class SharedTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);
    private static readonly CreateOptions s_shared = new() { Shared = true };

    private readonly TemporaryState _state = new();

    public SharedTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableTheory]
    [InlineData(EngineChoice.Soft)]
    [InlineData(EngineChoice.Kvm)]
    public void Machines_of_one_process_walk_through_their_lives_each_for_itself(EngineChoice engine)
    {
        if (engine == EngineChoice.Kvm)
            Published.RequireKvm();
        var manager = _state.Manager;
        string[] names = ["one", "two", "three"];
        foreach (string name in names)
        {
            manager.Create(TemporaryState.Machine(name, Guests.Loop, engine), s_shared).Shared.Should().BeTrue();
            manager.Start(name).Should().Match<VmRecord>(record => record.State == VmState.Running && record.Generation == 1);
        }

        var process = manager.Get("one").Worker!.Value;
        names.Select(name => manager.Get(name).Worker).Should().OnlyContain(worker => worker == process, "they are in one process");
        Refused(() => manager.Start("one"), "KVM0601", "one is running");
        UntilItWrites(manager, "two");
        manager.Pause("one").State.Should().Be(VmState.Paused);
        manager.Map("two")!.Value.GetProperty("vcpus").GetArrayLength().Should().Be(1);
        manager.Stop("one", TimeSpan.Zero).End!.How.Should().Be("stop-timeout");
        manager.Kill("two").End!.How.Should().Be("kill");
        manager.Get("three").State.Should().Be(VmState.Running, "what ends one ends no other");
        process.IsAlive.Should().BeTrue();
        File.ReadAllText(manager.Store.ConsoleLogOf("two")).Should().StartWith("R");
        manager.Start("two").Should().Match<VmRecord>(record => record.Generation == 2 && record.Worker == process);
        manager.Get("one").Usage!.RunMs.Should().BeLessThan(manager.Get("one").End!.At.Subtract(manager.Get("one").Created).TotalMilliseconds + 1000, "it counts from its own start");
        foreach (string name in names)
            manager.Remove(name, force: true);
        manager.List().Should().BeEmpty();
        Directory.GetFileSystemEntries(Path.Combine(_state.Options.RuntimeFolder, "vms")).Should().BeEmpty();
        process.WaitForEnd(s_long).Should().BeTrue("it has had no machine for a while");
        File.Exists(SharedHost.SocketOf(_state.Options)).Should().BeFalse();
    }

    [SkippableFact]
    public void The_process_that_ends_is_replaced_and_a_process_of_ones_own_is_another()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("shared", Guests.Loop), s_shared);
        manager.Create(TemporaryState.Machine("own", Guests.Loop));
        var process = manager.Start("shared").Worker!.Value;
        manager.Start("own").Worker.Should().NotBe(process);
        // Asked to end, as by a host that shuts down: its machines end in order, and say so.
        process.Terminate();
        process.WaitForEnd(s_long).Should().BeTrue();
        manager.Get("shared").Should().Match<VmRecord>(record => record.End!.Outcome == "signalled" && record.Worker == null);
        manager.Get("own").State.Should().Be(VmState.Running);
        manager.Start("shared").Worker!.Value.Should().NotBe(process);
        manager.Kill("shared");
        manager.Kill("own");
    }

    [SkippableFact]
    public void Who_kills_the_process_crashes_all_its_machines_and_each_starts_again()
    {
        var manager = _state.Manager;
        foreach (string name in (string[])["one", "two"])
        {
            manager.Create(TemporaryState.Machine(name, Guests.Loop), s_shared);
            manager.Start(name);
        }

        var process = manager.Get("one").Worker!.Value;
        process.Kill();
        process.WaitForEnd(s_long).Should().BeTrue();
        foreach (var entry in manager.List())
            entry.Record.Should().Match<VmRecord>(record => record.State == VmState.Crashed && record.End!.Outcome == "worker-died" && record.Worker == null);
        manager.Start("one").State.Should().Be(VmState.Running, "the sockets that were left are replaced");
        manager.Start("two").Worker.Should().Be(manager.Get("one").Worker);
        manager.Kill("one");
        manager.Kill("two");
    }

    [SkippableFact]
    public void A_machine_that_fails_says_why_and_the_others_run_on()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("runs", Guests.Loop), s_shared);
        var process = manager.Start("runs").Worker;
        manager.Create(TemporaryState.Machine("absent"), s_shared);
        Refused(() => manager.Start("absent"), "KVM0608", "/nowhere/vmlinux");
        foreach (var (name, kernel, state, outcome) in ((string, string, VmState, string)[])
            [("six", Guests.Six, VmState.Stopped, "debug-exit"), ("panic", Guests.Panic, VmState.Crashed, "panic"), ("triple", Guests.TripleFault, VmState.Crashed, "triple-fault")])
        {
            manager.Create(TemporaryState.Machine(name, kernel), s_shared);
            var started = manager.Start(name);
            SharedHost.WaitForEnd(_state.Options, started, s_long, CancellationToken.None).Should().BeTrue();
            manager.Get(name).Should().Match<VmRecord>(record => record.State == state && record.End!.Outcome == outcome && record.Worker == null, name);
        }

        manager.Get("runs").Should().Match<VmRecord>(record => record.State == VmState.Running && record.Worker == process);
        manager.Kill("runs");
    }

    [SkippableFact]
    public void One_that_fails_is_started_again_in_the_same_process_as_its_policy_says()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("panic", Guests.Panic), s_shared with { Restart = new RestartPolicy(RestartWhen.OnFailure, 2) });
        var process = manager.Start("panic").Worker ?? manager.Get("panic").Worker;
        using var cancel = new CancellationTokenSource(s_long);
        using var watch = new FileFollower(Path.Combine(manager.Store.FolderOf("panic"), "vcb.json"), fromEnd: true);
        while (manager.Store.Read("panic") is var now && !(now.State == VmState.Crashed && now.RestartAt is null) && !cancel.IsCancellationRequested)
            watch.Wait(TimeSpan.FromSeconds(1), cancel.Token);
        manager.Get("panic").Should().Match<VmRecord>(record => record.Generation == 3 && record.Restarts == 2 && record.Failures == 3 && record.Supervisor == null && record.End!.Outcome == "panic");
        process?.WaitForEnd(s_long).Should().BeTrue();
    }

    [SkippableFact]
    public void The_process_has_given_up_what_no_machine_needs_and_inspect_says_what_holds()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop), s_shared);
        var running = manager.Start("web");
        running.Confinement.Should().Contain(["seccomp", "no-new-privileges", "no-core"]).And.NotContain("landlock", "its paths are those of all its machines");
        foreach (string thread in Directory.GetDirectories($"/proc/{running.Worker!.Value.Id}/task"))
            File.ReadAllText(Path.Combine(thread, "status")).Should().MatchRegex("NoNewPrivs:\\s1").And.MatchRegex("Seccomp:\\s2");
        var shown = Published.Shell($"KVMSHARP_STATE={_state.Options.StateFolder} KVMSHARP_RUNTIME={_state.Options.RuntimeFolder} \"$KVMSHARP\" inspect web");
        shown.Output.Should().Contain("which has other machines too").And.Contain("seccomp");
        manager.Kill("web");
    }

    [SkippableFact]
    public void Many_that_start_and_end_machines_of_one_process_at_once_have_each_in_one_state()
    {
        var manager = _state.Manager;
        string[] names = ["a", "b", "c", "d"];
        foreach (string name in names)
            manager.Create(TemporaryState.Machine(name, Guests.Loop), s_shared);
        Parallel.For(0, 24, new ParallelOptions { MaxDegreeOfParallelism = 6 }, i =>
        {
            try
            {
                if (i % 3 == 0)
                    manager.Kill(names[i % 4]);
                else
                    manager.Start(names[i % 4]);
            }
            catch (VmmException e) when (e.Error.Id is "KVM0601" or "KVM0608")
            {
                // Not the first.
            }
        });
        List<HostProcess> processes = [];
        foreach (string name in names)
        {
            if (manager.Get(name) is { State: VmState.Running, Worker: { } worker })
                processes.Add(worker);
            manager.Remove(name, force: true);
        }

        processes.Distinct().Count().Should().BeLessThanOrEqualTo(1, "there is one process");
        manager.List().Should().BeEmpty();
    }

    [SkippableFact]
    public void Under_a_policy_they_are_in_one_table_with_the_others()
    {
        Published.RequireKvm();
        var manager = _state.Manager;
        foreach (var (name, how) in ((string, CreateOptions)[])[("one", s_shared), ("two", s_shared), ("own", new CreateOptions())])
        {
            var settings = TemporaryState.Machine(name, Guests.Loop, EngineChoice.Kvm);
            manager.Create(settings with { Scheduling = settings.Scheduling with { Policy = "rap" } }, how);
            var started = Published.Shell($"KVMSHARP_STATE={_state.Options.StateFolder} KVMSHARP_RUNTIME={_state.Options.RuntimeFolder} \"$KVMSHARP\" start {name}");
            started.ExitCode.Should().Be(0, started.Error);
        }

        var shown = Published.Shell($"KVMSHARP_RUNTIME={_state.Options.RuntimeFolder} \"$KVMSHARP\" sched show");
        shown.Output.Should().Contain("3 guests").And.MatchRegex("(?m)^one ").And.MatchRegex("(?m)^two ").And.MatchRegex("(?m)^own ");
        foreach (string name in (string[])["one", "two", "own"])
            manager.Kill(name);
    }

    private static void UntilItWrites(VmManager manager, string name)
    {
        using var console = manager.Connect(name);
        console.Ask("console read");
        console.TryRead(out _).Should().BeTrue();
        console.Read(new byte[1]).Should().Be(1);
    }

    private static void Refused(Action action, string id, string part)
    {
        var error = FluentActions.Invoking(action).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id);
        error.Message.Should().Contain(part);
    }
}
