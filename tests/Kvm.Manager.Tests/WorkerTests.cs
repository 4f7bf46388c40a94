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

    private static void Refused(Action action, string id, string part)
    {
        var error = FluentActions.Invoking(action).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id);
        error.Message.Should().Contain(part);
    }
}
