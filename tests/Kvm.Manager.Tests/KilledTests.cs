using System.Diagnostics;
using Kvm.Cli.Tests;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Tests;

/// <summary>Whatever is killed, whenever: the state folder opens, no machine is in two states, nothing is left behind.</summary>
public sealed class KilledTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryState _state = new();

    public KilledTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableTheory]
    [InlineData(1, "no", false)]
    [InlineData(2, "on-failure", false)]
    [InlineData(3, "no", true)]
    [InlineData(4, "on-failure", true)]
    public void A_hundred_kills_during_operations_leave_no_machine_in_two_states_and_nobody_behind(int seed, string restart, bool shared)
    {
        var random = new Random(seed);
        var manager = _state.Manager;
        string[] operations = ["start", "pause", "resume", "stop", "kill", "create"];
        for (int i = 0; i < 50; i++)
        {
            string operation = i % 2 == 0 ? "start" : operations[random.Next(operations.Length)];
            if (manager.Store.TryRead("web") is null)
                manager.Create(TemporaryState.Machine("web", Guests.Loop), new CreateOptions { Restart = RestartPolicy.Parse(restart)!.Value, Shared = shared });
            using var command = Command(operation == "create"
                ? ["create", Guests.Loop, "--engine", "soft", "--name", $"new{i}"]
                : operation == "stop" ? ["stop", "web", "--timeout", "10ms"] : [operation, "web"]);
            // Any moment of it, from before its first instruction to after its last.
            command.WaitForExit(random.Next(40));
            if (random.Next(2) == 0)
                command.Kill();
            var victim = manager.Store.TryRead("web");
            HostProcess?[] killed = [victim?.Worker, random.Next(3) == 0 ? victim?.Supervisor : null];
            foreach (var process in killed)
                process?.Kill();
            command.Kill();
            command.WaitForExit(s_long).Should().BeTrue();
            foreach (var process in killed)
                process?.WaitForEnd(s_long).Should().BeTrue();
            foreach (var entry in _state.Manager.List())
            {
                entry.Problem.Should().BeNull("the state folder opens again");
                var record = _state.Manager.Settle(entry.Name, CancellationToken.None);
                if (Lifecycle.IsActive(record.State))
                    (record.Worker is { IsAlive: true } || record.Supervisor is { IsAlive: true }).Should().BeTrue($"{record.Name} is {record.State}");
            }
        }

        foreach (var entry in manager.List())
            manager.Remove(entry.Name, force: true);
        Processes().Should().BeEmpty();
        manager.List().Should().BeEmpty();
        // A socket that a killed worker left is replaced by the next machine of its name, and held by nobody.
        manager.Create(TemporaryState.Machine("web", Guests.Loop));
        manager.Start("web").State.Should().Be(VmState.Running);
        manager.Kill("web");
        manager.Remove("web");
        Directory.GetFileSystemEntries(Path.Combine(_state.Options.RuntimeFolder, "vms")).Should().BeEmpty();
    }

    [SkippableFact]
    public void Many_that_start_and_end_one_machine_at_once_have_it_in_one_state()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web", Guests.Loop));
        int started = 0;
        Parallel.For(0, 12, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            try
            {
                if (i % 2 == 0)
                    manager.Kill("web");
                else if (manager.Start("web") is not null)
                    Interlocked.Increment(ref started);
            }
            catch (VmmException e) when (e.Error.Id is "KVM0601" or "KVM0608")
            {
                // Not the first.
            }
        });
        var last = manager.Get("web");
        last.Generation.Should().BeInRange(1, started + 6);
        if (Lifecycle.IsActive(last.State))
            manager.Kill("web");
        Processes().Should().BeEmpty();
        manager.Get("web").State.Should().BeOneOf(VmState.Stopped, VmState.Crashed);
    }

    [SkippableFact]
    public void A_full_disk_leaves_what_was_known_before()
    {
        Published.RequireRoot();
        // A file system of 1 MiB in a mount namespace of its own, which ends with the shell.
        string folder = Path.GetDirectoryName(_state.Options.StateFolder)!;
        var ended = Published.Shell($$"""
            unshare -m true 2>/dev/null || { echo skip; exit 0; }
            exec unshare -m bash -euc '
                mkdir -p {{folder}}/small; mount -t tmpfs -o size=1m,mode=700 none {{folder}}/small
                export KVMSHARP_STATE={{folder}}/small KVMSHARP_RUNTIME={{_state.Options.RuntimeFolder}}
                "$KVMSHARP" create {{Guests.Six}} --engine soft --name before
                full=0; for size in 512k 64k 4k 1k 1; do dd if=/dev/zero of={{folder}}/small/fill bs=$size oflag=append conv=notrunc 2>/dev/null || full=1; done
                for verb in "create {{Guests.Six}} --name after" "start before"; do "$KVMSHARP" $verb 2>&1 && echo done || echo "exit $?"; done
                rm {{folder}}/small/fill; "$KVMSHARP" ps --all; "$KVMSHARP" start before; "$KVMSHARP" rm --force before; ls -A {{folder}}/small/vms'
            """);
        Skip.If(ended.Output.StartsWith("skip", StringComparison.Ordinal), "mount namespaces are not permitted");
        ended.ExitCode.Should().Be(0, ended.Output + ended.Error);
        ended.Output.Should().Contain("KVM0605").And.Contain("no space left").And.Contain("exit 1").And.NotContain("KVM0604");
        ended.Output.Should().MatchRegex("before +created").And.NotMatchRegex("after +created").And.Contain("before: removed").And.EndWith(".lock\n");
    }

    /// <summary>The program's processes that work on this test's state folder, once those that are about to end have ended.</summary>
    private List<int> Processes()
    {
        List<int> left = [];
        foreach (string folder in Directory.GetDirectories("/proc").Where(folder => char.IsAsciiDigit(Path.GetFileName(folder)[0])))
        {
            if (!CommandLine(folder).Contains(_state.Options.StateFolder, StringComparison.Ordinal) || HostProcess.Find(int.Parse(Path.GetFileName(folder))) is not { } process)
                continue;
            // One that no record names ends as soon as it has had its lock.
            if (!process.WaitForEnd(s_long))
                left.Add(process.Id);
        }

        return left;
    }

    private static string CommandLine(string folder)
    {
        try
        {
            return File.ReadAllText(Path.Combine(folder, "cmdline"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private Process Command(string[] arguments)
    {
        var start = new ProcessStartInfo(Published.Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["KVMSHARP_STATE"] = _state.Options.StateFolder;
        start.Environment["KVMSHARP_RUNTIME"] = _state.Options.RuntimeFolder;
        return Process.Start(start)!;
    }
}
