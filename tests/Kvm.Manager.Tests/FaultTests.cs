using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Iced.Intel;
using Kvm.Cli.Tests;
using Kvm.Manager.Faults;
using Kvm.Vmm;
using Kvm.Vmm.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Manager.Tests;

/// <summary>Guests that hang, panic, forget their watchdog or do not answer, and what is done about it.</summary>
public sealed class FaultTests : IDisposable
{
    private const ushort PvPanic = MachineLayout.Pvpanic;

    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(120);

    private readonly TemporaryState _state = new();

    public FaultTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    /// <summary>Reports a panic and then goes on for ever, as a kernel without <c>panic=</c> does.</summary>
    private static string Panics { get; } = Guests.Make("panics", a =>
    {
        var again = a.CreateLabel();
        a.mov(dx, PvPanic);
        a.mov(eax, 1);
        a.@out(dx, al);
        a.Label(ref again);
        a.jmp(again);
    });

    /// <summary>Reports panics as fast as it can.</summary>
    private static string PanicsForEver { get; } = Guests.Make("panics-for-ever", a =>
    {
        var again = a.CreateLabel();
        a.mov(dx, PvPanic);
        a.mov(eax, 1);
        a.Label(ref again);
        a.@out(dx, al);
        a.jmp(again);
    });

    /// <summary>Switches its watchdog on, both stages a few ticks, and forgets it.</summary>
    private static string Watched { get; } = Guests.Make("watched", a =>
    {
        var again = a.CreateLabel();
        Config(a, 0x10);
        a.@in(eax, dx);
        a.and(eax, unchecked((int)0xffff_fff0));
        a.mov(ebx, eax);
        foreach (int preload in (int[])[0, 4])
        {
            a.mov(__word_ptr[ebx + 12], (ushort)0x80);
            a.mov(__word_ptr[ebx + 12], (ushort)0x86);
            a.mov(__dword_ptr[ebx + preload], 9u);
        }

        Config(a, 0x68);
        a.mov(al, 2);
        a.@out(dx, al);
        a.Label(ref again);
        a.jmp(again);
    });

    [SkippableFact]
    public void Guest_that_hangs_is_noticed_dumped_and_started_again()
    {
        var manager = Start("web", Guests.Loop, "hang:1s=dump+restart");
        Await(manager, "web", record => record.Generation >= 2 && record.State == VmState.Running);
        manager.Kill("web").State.Should().Be(VmState.Stopped);
        AwaitEvents(manager, "created", "starting", "running", "hang", "dumped", "crashed", "starting", "running");
        Details(manager, "crashed").Should().Contain("hung, guest");
        Details(manager, "hang").First().Should().Contain("vcpu0").And.Contain("interrupts off");
        string core = Path.Combine(manager.Store.FolderOf("web"), "core");
        File.GetUnixFileMode(core).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Registers(core).Rip.Should().BeInRange(0x10_0000, 0x10_0fff, "it loops in its own code");
    }

    [SkippableFact]
    public void Guest_that_panics_is_left_standing_where_that_is_asked_for()
    {
        var manager = Start("web", Panics, "panic=dump+pause");
        Await(manager, "web", record => record.State == VmState.Paused);
        AwaitEvents(manager, "running", "panic", "dumped", "paused");
        manager.Get("web").Worker!.Value.IsAlive.Should().BeTrue();
        manager.Kill("web").End!.How.Should().Be("kill");
    }

    [SkippableTheory]
    [InlineData("panic=kill", "always")]
    [InlineData("panic=dump", "no")]
    [InlineData("", "no")]
    public void Guest_that_panics_ends_and_is_not_started_again_where_nobody_said_so(string faults, string restart)
    {
        var manager = Start("web", Panics, faults, RestartPolicy.Parse(restart)!.Value);
        Await(manager, "web", record => record.State == VmState.Crashed && record.Supervisor is null);
        manager.Get("web").Should().Match<VmRecord>(record => record.End!.Outcome == "panic" && record.End.ExitCode == 10 && record.RestartAt == null && record.Generation == 1);
        AwaitEvents(manager, "running", "panic", "crashed");
        File.Exists(Path.Combine(manager.Store.FolderOf("web"), "core")).Should().Be(faults == "panic=dump");
    }

    [SkippableFact]
    public void Guest_that_reports_panics_without_end_is_told_of_once_and_runs_on()
    {
        var manager = Start("web", PanicsForEver, "panic=none");
        AwaitEvent(manager, "panic");
        manager.Get("web").State.Should().Be(VmState.Running);
        // It is not slower to end for all that it reports.
        manager.Kill("web").End!.How.Should().Be("kill");
        Events(manager).Count(what => what == "panic").Should().BeLessThan(13, "once in ten seconds at most");
    }

    [SkippableFact]
    public void Guest_that_forgets_its_watchdog_is_started_again()
    {
        var manager = Start("web", Watched, "watchdog=restart", change: machine => machine with { Watchdog = true });
        Await(manager, "web", record => record.Generation >= 2);
        manager.Remove("web", force: true);
        AwaitEvents(manager, "running", "watchdog", "crashed", "starting");
        Details(manager, "crashed").Should().Contain("watchdog, guest");
    }

    [SkippableFact]
    public void Guest_that_triple_faults_and_has_no_snapshot_to_go_on_from_boots()
    {
        var manager = Start("web", Guests.TripleFault, "crash=dump+restore");
        AwaitEvent(manager, "restore-failed");
        manager.Remove("web", force: true);
        AwaitEvents(manager, "running", "dumped", "crashed", "starting", "restore-failed");
    }

    [SkippableFact]
    public void Machine_whose_process_is_killed_goes_on_from_its_last_snapshot()
    {
        var manager = Start("web", Guests.Loop, "crash=restore");
        string store = Folders.SnapshotsOf(_state.Options.StateFolder);
        foreach (string name in (string[])["first", "second"])
        {
            using var client = manager.Connect("web");
            client.AskOnce($"snapshot {name} all Lz4 {store}").Should().NotBeNull();
        }

        var worker = manager.Get("web").Worker!.Value;
        worker.Kill();
        Await(manager, "web", record => record.Generation == 2 && record.State == VmState.Running);
        AwaitEvents(manager, "running", "crashed", "starting", "restored", "running");
        Details(manager, "restored").Should().Equal("second");
        manager.Get("web").RestoresNext.Should().BeFalse();
        manager.Kill("web");
        File.ReadAllText(manager.Store.ConsoleLogOf("web")).Should().Be("R", "a guest that goes on does not begin again");
    }

    [SkippableFact]
    public void Guest_whose_port_answers_no_more_is_unhealthy_and_started_again()
    {
        using var service = new TcpListener(IPAddress.Loopback, 0);
        service.Start();
        HealthCheck.Parse($"tcp:{((IPEndPoint)service.LocalEndpoint).Port},interval=20ms,timeout=30000ms,failures=2", out var check, Milliseconds).Should().BeNull();
        var manager = Start("web", Guests.Loop, "unhealthy=restart", health: check);
        Await(manager, "web", record => record.HealthState == "healthy");
        service.Stop();
        Await(manager, "web", record => record.Generation >= 2);
        manager.Remove("web", force: true);
        AwaitEvents(manager, "running", "healthy", "unhealthy", "crashed", "starting");
        Details(manager, "unhealthy").First().Should().Be("2 questions in a row: nobody listens");
        Details(manager, "crashed").Should().Contain("unhealthy, guest");
    }

    [SkippableFact]
    public void Guest_that_stands_still_is_not_asked()
    {
        HealthCheck.Parse("vsock:9,interval=10ms,start=10ms,failures=1", out var check, Milliseconds).Should().BeNull();
        var manager = Start("web", Panics, "panic=pause,unhealthy=none", health: check);
        Await(manager, "web", record => record.State == VmState.Paused);
        manager.Resume("web");
        // It has no vsock at all.
        Await(manager, "web", record => record.HealthState == "unhealthy");
        manager.Get("web").State.Should().Be(VmState.Running);
        manager.Kill("web");
    }

    private static void Config(Assembler a, int register)
    {
        a.mov(dx, 0xcf8);
        a.mov(eax, unchecked((int)(0x8000_0000u | MachineLayout.PciWatchdog << 8 | (uint)register)));
        a.@out(dx, eax);
        a.mov(dx, 0xcfc);
    }

    private VmManager Start(string name, string kernel, string faults, RestartPolicy restart = default, HealthCheck? health = null, Func<VmConfig, VmConfig>? change = null)
    {
        FaultRules.Parse(faults, out var rules, text => text == "1s" ? TimeSpan.FromSeconds(1) : null).Should().BeNull();
        var manager = _state.Manager;
        var settings = TemporaryState.Machine(name, kernel);
        manager.Create(settings with { Machine = change?.Invoke(settings.Machine) ?? settings.Machine }, new CreateOptions { Restart = restart, Faults = rules, Health = health });
        manager.Start(name);
        return manager;
    }

    /// <summary>Waits until a machine's record is as it is to be; its file tells when it changes.</summary>
    private static void Await(VmManager manager, string name, Func<VmRecord, bool> holds)
    {
        using var cancel = new CancellationTokenSource(s_long);
        using var watch = new FileFollower(Path.Combine(manager.Store.FolderOf(name), "vcb.json"), fromEnd: true);
        while (manager.Store.Read(name) is var now && !holds(now))
        {
            cancel.IsCancellationRequested.Should().BeFalse($"{name} is {now.State}, start {now.Generation}, {now.End}: {string.Join(' ', Events(manager))}");
            watch.Wait(TimeSpan.FromSeconds(1), cancel.Token);
        }
    }

    private static void AwaitEvent(VmManager manager, string what) => AwaitEvents(manager, what);

    /// <summary>Waits until these have been told, in this order. A record is kept before its event: who saw the record may be there first.</summary>
    private static void AwaitEvents(VmManager manager, params string[] inOrder)
    {
        using var cancel = new CancellationTokenSource(s_long);
        using var watch = new FileFollower(manager.Events.Path, fromEnd: true);
        while (!HasInOrder(Events(manager), inOrder))
        {
            cancel.IsCancellationRequested.Should().BeFalse($"not told: {string.Join(' ', inOrder)}, but {string.Join(' ', Events(manager))}");
            watch.Wait(TimeSpan.FromSeconds(1), cancel.Token);
        }
    }

    private static bool HasInOrder(List<string> told, string[] inOrder)
    {
        int next = 0;
        foreach (string what in told)
            next += next < inOrder.Length && what == inOrder[next] ? 1 : 0;
        return next == inOrder.Length;
    }

    private static List<string> Events(VmManager manager) => [.. manager.Events.Read(follow: false).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("event").GetString()!)];

    private static List<string?> Details(VmManager manager, string what) =>
        [.. manager.Events.Read(follow: false).Select(line => JsonDocument.Parse(line).RootElement).Where(line => line.GetProperty("event").GetString() == what).Select(line => line.GetProperty("detail").GetString())];

    /// <summary>The first vCPU's registers in a core file, as its note has them.</summary>
    private static (ulong Rip, ulong Flags) Registers(string core)
    {
        byte[] bytes = new byte[4096];
        using (var file = File.OpenRead(core))
            file.ReadAtLeast(bytes, bytes.Length);
        bytes[..4].Should().Equal(0x7f, (byte)'E', (byte)'L', (byte)'F');
        BitConverter.ToUInt16(bytes, 16).Should().Be(4, "ET_CORE");
        int note = (int)BitConverter.ToUInt64(bytes, 64 + 8);
        int registers = note + 20 + 112;
        return (BitConverter.ToUInt64(bytes, registers + 16 * 8), BitConverter.ToUInt64(bytes, registers + 18 * 8));
    }

    private static TimeSpan? Milliseconds(string text) => text.EndsWith("ms", StringComparison.Ordinal) && uint.TryParse(text[..^2], out uint ms) ? TimeSpan.FromMilliseconds(ms) : null;
}
