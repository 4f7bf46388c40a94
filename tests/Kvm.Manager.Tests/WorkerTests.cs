using Kvm.Cli.Tests;
using Kvm.Vmm;

namespace Kvm.Manager.Tests;

public sealed class WorkerTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryState _state = new();

    public WorkerTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableFact]
    public void A_machine_walks_through_its_life()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop)).State.Should().Be(VmState.Created);
        var running = manager.Start("web");
        running.State.Should().Be(VmState.Running);
        running.Worker!.Value.IsAlive.Should().BeTrue();
        running.Settings().Machine.Engine.Should().Be(EngineChoice.Soft);
        Refused(() => manager.Start("web"), "KVM0601", "web is running");
        Refused(() => manager.Remove("web"), "KVM0601", "web is running");
        // No driver of a power button in a guest of three instructions.
        var stopped = manager.Stop("web", TimeSpan.Zero);
        stopped.State.Should().Be(VmState.Stopped);
        stopped.End!.How.Should().Be("stop-timeout");
        stopped.Usage!.CpuMs.Should().BeGreaterThan(0);
        running.Worker.Value.WaitForEnd(s_long).Should().BeTrue();
        Refused(() => manager.Stop("web", TimeSpan.Zero), "KVM0601", "web is stopped");
        manager.Start("web").Generation.Should().Be(2);
        manager.Kill("web").End!.How.Should().Be("kill");
        File.ReadAllText(manager.Store.ConsoleLogOf("web")).Should().Be("RR", "the logs of both runs are there");
        manager.Remove("web");
        manager.List().Should().BeEmpty();
        Directory.GetFileSystemEntries(manager.Store.Folder).Select(Path.GetFileName).Should().Equal(".lock");
        Directory.GetFileSystemEntries(Path.Combine(_state.Options.RuntimeFolder, "vms")).Should().BeEmpty();
    }

    [SkippableFact]
    public void A_guest_runs_in_a_process_that_has_given_up_what_it_does_not_need()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop));
        var running = manager.Start("web");
        running.Confinement.Should().Contain(["seccomp", "no-new-privileges", "no-core"]);
        int process = running.Worker!.Value.Id;
        foreach (string thread in Directory.GetDirectories($"/proc/{process}/task"))
            File.ReadAllText(Path.Combine(thread, "status")).Should().MatchRegex("NoNewPrivs:\\s1").And.MatchRegex("Seccomp:\\s2");
        File.ReadAllText($"/proc/{process}/limits").Should().MatchRegex("Max core file size +0 +0");
        Skip.IfNot(Kvm.Vmm.Host.Confinement.KnowsPaths, "the kernel has no Landlock");
        running.Confinement.Should().Contain("landlock");
        manager.Kill("web");
    }

    [SkippableFact]
    public void A_confined_process_writes_no_file_of_another_folder_not_even_where_a_link_leads_it()
    {
        Skip.IfNot(Kvm.Vmm.Host.Confinement.KnowsPaths, "the kernel has no Landlock");
        var manager = _state.Manager;
        string victim = Path.Combine(Path.GetDirectoryName(_state.Options.StateFolder)!, "victim");
        File.WriteAllText(victim, "untouched");
        manager.Create(TemporaryState.Machine("six", Guests.Six));
        File.CreateSymbolicLink(Path.Combine(manager.Store.FolderOf("six"), "report.json"), victim);
        manager.Start("six").Worker?.WaitForEnd(s_long).Should().BeTrue();
        manager.Get("six").Confinement.Should().Contain("landlock");
        File.ReadAllText(victim).Should().Be("untouched");
        File.ReadAllText(Path.Combine(manager.Store.FolderOf("six"), "worker.log")).Should().Contain("the report is lost: permission denied");
    }

    [SkippableFact]
    public void A_disk_may_be_based_on_files_of_other_folders()
    {
        var manager = _state.Manager;
        string folder = Path.GetDirectoryName(_state.Options.StateFolder)!, image = Path.Combine(folder, "disk.qcow2"), based = Path.Combine(folder, "base", "disk.raw");
        Directory.CreateDirectory(Path.Combine(folder, "base"));
        File.WriteAllBytes(based, new byte[1 << 20]);
        Published.Run("disk", "create", "-b", based, "-F", "raw", "--allow-backing", image).ExitCode.Should().Be(0);
        Kvm.Vmm.Storage.DiskConfig.Parse($"{image},backing=allow", out var disk).Should().BeNull();
        var settings = TemporaryState.Machine("web", Guests.Loop);
        manager.Create(settings with { Machine = settings.Machine with { Disks = [disk] } });
        manager.Start("web").State.Should().Be(VmState.Running);
        manager.Kill("web");
    }

    [SkippableFact]
    public void A_running_machine_tells_what_is_behind_each_of_its_resources()
    {
        var manager = _state.Manager;
        string disk = Path.Combine(Path.GetDirectoryName(_state.Options.StateFolder)!, "disk.raw");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        Kvm.Vmm.Storage.DiskConfig.Parse(disk, out var config).Should().BeNull();
        var settings = TemporaryState.Machine("web", Guests.Loop);
        manager.Create(settings with { Machine = settings.Machine with { Disks = [config], Cpus = 2 } });
        manager.Map("web").Should().BeNull("it does not run");
        int process = manager.Start("web").Worker!.Value.Id;
        UntilItWrites(manager, "web");
        var map = manager.Map("web")!.Value;
        var vcpus = map.GetProperty("vcpus").EnumerateArray().ToList();
        vcpus.Should().HaveCount(2);
        Directory.Exists($"/proc/{process}/task/{vcpus[0].GetProperty("thread").GetInt32()}").Should().BeTrue();
        var slot = map.GetProperty("slots")[0];
        slot.GetProperty("start").GetString().Should().Be("0x0");
        // The address is one of that process's mappings.
        File.ReadAllText($"/proc/{process}/maps").Should().Contain(slot.GetProperty("host").GetString()![2..]);
        map.GetProperty("memory").EnumerateArray().Should().Contain(part => part.GetProperty("name").GetString() == "local APIC");
        var device = map.GetProperty("devices").EnumerateArray().Single();
        device.GetProperty("peer").GetString().Should().Be(disk);
        int descriptor = device.GetProperty("descriptors")[0].GetInt32();
        new FileInfo($"/proc/{process}/fd/{descriptor}").LinkTarget.Should().Be(disk);
        manager.Kill("web");
    }

    [SkippableFact]
    public void Machines_under_a_policy_are_in_one_table()
    {
        Published.RequireKvm();
        var manager = _state.Manager;
        foreach (string name in (string[])["one", "two"])
        {
            var settings = TemporaryState.Machine(name, Guests.Loop, EngineChoice.Kvm);
            manager.Create(settings with { Scheduling = settings.Scheduling with { Policy = "rap" } });
            manager.Start(name).State.Should().Be(VmState.Running);
        }

        var shown = Published.Shell($"KVMSHARP_RUNTIME={_state.Options.RuntimeFolder} \"$KVMSHARP\" sched show");
        shown.Output.Should().Contain("2 guests").And.MatchRegex("(?m)^one ").And.MatchRegex("(?m)^two ");
        foreach (string name in (string[])["one", "two"])
            manager.Kill(name);
        // The scheduler ends with its last guest: nobody answers at its socket any more.
        for (var ended = shown; ended.ExitCode == 0;)
            ended = Published.Shell($"KVMSHARP_RUNTIME={_state.Options.RuntimeFolder} \"$KVMSHARP\" sched show");
    }

    [SkippableFact]
    public void A_guest_that_powers_off_when_asked_was_stopped_gracefully()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.PowerButton));
        manager.Start("web");
        // It looks at its power button then.
        UntilItWrites(manager, "web");
        // A guest that stands still is let go, so that it can.
        manager.Pause("web");
        manager.Stop("web", s_long).End!.Should().Match<VmEnd>(end => end.How == "stop" && end.Outcome == "poweroff" && end.ExitCode == 0);
    }

    [SkippableFact]
    public void How_a_guest_ended_is_in_its_record()
    {
        foreach (var (name, kernel, state, outcome, code) in ((string, string, VmState, string, int)[])
            [("six", Guests.Six, VmState.Stopped, "debug-exit", 0), ("panic", Guests.Panic, VmState.Crashed, "panic", 10), ("triple", Guests.TripleFault, VmState.Crashed, "triple-fault", 11), ("seven", Guests.DebugExit(7), VmState.Crashed, "debug-exit", 27)])
        {
            var manager = _state.Manager;
            manager.Create(TemporaryState.Machine(name, kernel));
            manager.Start(name).Worker?.WaitForEnd(s_long).Should().BeTrue();
            var ended = manager.Get(name);
            ended.State.Should().Be(state, name);
            ended.End!.Should().Match<VmEnd>(end => end.Outcome == outcome && end.ExitCode == code && end.How == "guest", name);
            ended.Worker.Should().BeNull();
        }
    }

    [SkippableFact]
    public void A_machine_that_cannot_start_says_why_and_may_be_started_again()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web"));
        for (int i = 0; i < 2; i++)
        {
            Refused(() => manager.Start("web"), "KVM0608", "/nowhere/vmlinux");
            manager.Get("web").Should().Match<VmRecord>(record => record.State == VmState.Crashed && record.End!.ErrorId == "KVM0100" && record.End.How == "failure");
        }
    }

    [SkippableFact]
    public void A_killed_worker_leaves_a_crashed_machine_that_starts_again()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop));
        var worker = manager.Start("web").Worker!.Value;
        worker.Kill();
        worker.WaitForEnd(s_long).Should().BeTrue();
        manager.Get("web").Should().Match<VmRecord>(record => record.State == VmState.Crashed && record.End!.Outcome == "worker-died");
        manager.Start("web").State.Should().Be(VmState.Running, "the socket that was left is replaced");
        manager.Remove("web", force: true);
    }

    [SkippableFact]
    public void A_paused_guest_stands_still_goes_on_and_can_be_ended()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("flood", Guests.Flood));
        manager.Start("flood");
        for (int i = 0; i < 3; i++)
        {
            manager.Pause("flood").State.Should().Be(VmState.Paused);
            Refused(() => manager.Pause("flood"), "KVM0601", "flood is paused");
            manager.Resume("flood").State.Should().Be(VmState.Running);
        }

        Refused(() => manager.Resume("flood"), "KVM0601", "flood is running");
        manager.Pause("flood");
        manager.Kill("flood").End!.How.Should().Be("kill");
        Refused(() => manager.Pause("flood"), "KVM0601", "flood is stopped");
        manager.Start("flood");
        manager.Pause("flood");
        manager.Stop("flood", TimeSpan.Zero).End!.How.Should().Be("stop-timeout");
    }

    [SkippableFact]
    public void A_guest_that_fails_is_started_again_as_often_as_its_policy_says()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("panic", Guests.Panic), new RestartPolicy(RestartWhen.OnFailure, 2));
        var supervisor = manager.Start("panic").Supervisor!.Value;
        supervisor.WaitForEnd(s_long).Should().BeTrue();
        manager.Get("panic").Should().Match<VmRecord>(record => record.State == VmState.Crashed && record.Generation == 3 && record.Restarts == 2 && record.Failures == 3
            && record.RestartAt == null && record.Supervisor == null && record.End!.Outcome == "panic");
    }

    [SkippableFact]
    public void A_worker_that_is_killed_is_replaced_by_its_supervisor_and_a_stop_ends_both()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop), new RestartPolicy(RestartWhen.OnFailure));
        var started = manager.Start("web");
        var supervisor = started.Supervisor!.Value;
        for (int i = 1; i <= 2; i++)
        {
            var worker = manager.Get("web").Worker!.Value;
            worker.Kill();
            worker.WaitForEnd(s_long).Should().BeTrue();
            using var cancel = new CancellationTokenSource(s_long);
            // Its folder tells when something happens to it.
            using var watch = new Kvm.Vmm.Host.FileFollower(Path.Combine(manager.Store.FolderOf("web"), "vcb.json"), fromEnd: true);
            while (manager.Store.Read("web") is var now && !(now.State == VmState.Running && now.Generation == i + 1))
                watch.Wait(TimeSpan.FromSeconds(1), cancel.Token);
            cancel.IsCancellationRequested.Should().BeFalse();
        }

        manager.Get("web").Should().Match<VmRecord>(record => record.Restarts == 2 && record.Supervisor == supervisor);
        manager.Kill("web").Should().Match<VmRecord>(record => record.State == VmState.Stopped && record.RestartAt == null);
        supervisor.IsAlive.Should().BeFalse();
        manager.Remove("web");
    }

    [SkippableFact]
    public void Without_its_supervisor_a_machine_goes_on_and_whoever_looks_next_starts_it_again()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop), new RestartPolicy(RestartWhen.Always));
        var started = manager.Get(manager.Start("web").Name);
        started.Supervisor!.Value.Kill();
        started.Supervisor.Value.WaitForEnd(s_long).Should().BeTrue();
        started.Worker!.Value.IsAlive.Should().BeTrue();
        started.Worker.Value.Kill();
        started.Worker.Value.WaitForEnd(s_long).Should().BeTrue();
        manager.Get("web").Should().Match<VmRecord>(record => record.State == VmState.Crashed && record.RestartAt != null && record.Supervisor == null);
        var later = new VmManager(_state.Options with { Time = new Later() });
        var again = later.Settle("web", CancellationToken.None);
        again.Generation.Should().Be(2);
        again.Supervisor.Should().NotBeNull();
        manager.Remove("web", force: true);
    }

    /// <summary>A clock that is a minute ahead.</summary>
    private sealed class Later : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + TimeSpan.FromMinutes(1);
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
