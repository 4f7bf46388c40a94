using System.Diagnostics;
using System.Runtime.InteropServices;
using Kvm.Boot.Tests;

namespace Kvm.Cli.Tests;

/// <summary>Guests under a policy, as processes of the published program; each test has a runtime folder, and so a scheduler, of its own.</summary>
public sealed partial class SchedulerTests : IDisposable
{
    private static readonly string s_spin = Guests.Bytes("spin-user", UserKernel.Spin());
    private static readonly string s_count = Guests.Bytes("count-user", UserKernel.Count(100_000_000));
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    /// <summary>SIGSTOP.</summary>
    private const int Stop = 19;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-sched-").FullName;
    private readonly List<Process> _guests = [];

    public void Dispose()
    {
        foreach (var guest in _guests)
        {
            if (!guest.HasExited)
                guest.Kill();
            guest.WaitForExit(s_patience);
            guest.Dispose();
        }

        if (Scheduler() is { } left)
            _ = kill(left, 9);
        Directory.Delete(_folder, recursive: true);
    }

    [SkippableFact]
    public void The_first_guest_starts_the_scheduler_and_it_ends_with_the_last()
    {
        Published.RequireKvm();

        var first = Start("--name", "first", s_spin);
        var second = Start("--name", "second", s_spin);
        Until(() => Shown("first") && Shown("second"));
        int scheduler = Scheduler()!.Value;
        Say("why", "second").Output.Should().StartWith("second vCPU 0 ");
        Published.Signal(first, 15);
        Published.Signal(second, 15);

        first.WaitForExit(s_patience).Should().BeTrue();
        second.WaitForExit(s_patience).Should().BeTrue();
        first.ExitCode.Should().Be(143);
        Until(() => !Directory.Exists($"/proc/{scheduler}") || File.ReadAllText($"/proc/{scheduler}/stat").Contains(") Z", StringComparison.Ordinal));
        Say("show").ShouldFail(1, "KVM0403");
    }

    [SkippableFact]
    public void The_rules_of_the_first_guest_are_those_of_the_scheduler_and_others_are_told_where_theirs_differ()
    {
        Published.RequireKvm();
        Start("--name", "first", "--policy", "fcfs", "--slice", "3ms", "--limit", "20ms", "--ageing", "2s", "--boost", "500ms", "--period", "50ms", "--capacity", "memory=1G,disk=5M", "--learn", s_spin);
        Until(() => Shown("first"));

        var shown = Say("show", "--json").Json.GetProperty("schedulers")[0];
        string[] times = ["sliceMs", "limitMs", "ageingMs", "boostMs", "periodMs"];
        times.Select(name => shown.GetProperty(name).GetDouble()).Should().Equal(3, 20, 2000, 500, 50);
        shown.GetProperty("capacity").GetString().Should().Be("memory=1073741824,disk=5242880");
        shown.GetProperty("learn").GetBoolean().Should().BeTrue();
        shown.GetProperty("vms")[0].GetProperty("class").GetString().Should().Be("first");
        var second = Start("--name", "second", "--policy", "fcfs", "--limit", "10ms", s_count);
        second.StandardError.ReadLine().Should().Contain("keeps its --limit (20ms); 10ms was asked for");
    }

    [SkippableFact]
    public void A_guest_under_a_policy_ends_as_one_without()
    {
        Published.RequireKvm();

        var guest = Start("--name", "counts", s_count);

        guest.WaitForExit(s_patience).Should().BeTrue();
        guest.ExitCode.Should().Be(0, guest.StandardError.ReadToEnd());
    }

    [SkippableFact]
    public void Under_host_a_guest_is_bound_to_a_CPU_without_a_scheduler()
    {
        Published.RequireKvm();
        var guest = Start("--name", "alone", "--policy", "host", "--cpus", "2", s_spin);

        Until(() => VcpuAffinities(guest) is [var first, var second] && int.TryParse(first, out _) && int.TryParse(second, out _));

        Scheduler().Should().BeNull();
        Published.Signal(guest, 15);
        guest.WaitForExit(s_patience).Should().BeTrue();
        guest.ExitCode.Should().Be(143);
    }

    [SkippableFact]
    public void Another_policy_on_the_same_CPUs_is_refused_with_both_named()
    {
        Published.RequireKvm();
        Start("--name", "first", s_spin);
        Until(() => Shown("first"));

        var other = Finish(Launch("run", s_spin, "--engine", "kvm", "--memory", "16M", "--policy", "fcfs"));

        other.ShouldFail(1, "KVM0401", "rr rules CPUs", "fcfs was asked for");
    }

    [SkippableFact]
    public void Guests_go_on_when_their_scheduler_is_killed()
    {
        Published.RequireKvm();
        var guest = Start("--name", "goes-on", s_spin);
        Until(() => Shown("goes-on"));

        kill(Scheduler()!.Value, 9).Should().Be(0);

        guest.StandardError.ReadLine().Should().Contain("started a scheduler");
        guest.StandardError.ReadLine().Should().Contain("the scheduler is lost").And.Contain("goes on under the host's own");
        var before = guest.TotalProcessorTime;
        Until(() =>
        {
            guest.Refresh();
            return guest.TotalProcessorTime > before + TimeSpan.FromMilliseconds(100);
        });
        // The next one starts another scheduler, and ends under it.
        var next = Start("--name", "next", s_count);
        next.WaitForExit(s_patience).Should().BeTrue();
        next.ExitCode.Should().Be(0);
    }

    [SkippableTheory]
    [InlineData(9)]
    [InlineData(Stop)]
    public void Who_runs_who_is_parked_and_who_waits_to_be_admitted_go_on_when_their_scheduler_is_killed_or_stopped(int signal)
    {
        Published.RequireKvm();
        string cpu = $"{FirstCpu()}";
        var scheduler = Launch("sched", "serve", "--policy", "fcfs", "--pin", cpu, "--memory", "40M");
        _guests.Add(scheduler);
        Until(() => Say("show").ExitCode == 0);
        var runs = Start("--name", "runs", "--policy", "fcfs", s_spin);
        Until(() => Shown("runs", "running"));
        var parked = Start("--name", "parked", "--policy", "fcfs", s_count);
        Until(() => Shown("parked", "ready"));
        var queued = Start("--name", "queued", "--policy", "fcfs", "--admission", "queue", s_count);
        queued.StandardError.ReadLine().Should().Contain("waits to be admitted");

        kill(scheduler.Id, signal).Should().Be(0);

        // The kernel alone has the CPU now, so who was parked ends although the other one runs for ever.
        parked.WaitForExit(s_patience).Should().BeTrue();
        parked.ExitCode.Should().Be(0);
        parked.StandardError.ReadToEnd().Should().Contain("the scheduler is lost").And.Contain("goes on under the host's own");
        var before = runs.TotalProcessorTime;
        Until(() =>
        {
            runs.Refresh();
            return runs.TotalProcessorTime > before + TimeSpan.FromMilliseconds(50);
        });
        // A queue that is stopped is one still; without it the first who finds that out opens another.
        if (signal == Stop)
            kill(scheduler.Id, 9).Should().Be(0);
        queued.WaitForExit(s_patience).Should().BeTrue();
        queued.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void A_guest_that_was_told_to_stops_when_its_scheduler_is_killed()
    {
        Published.RequireKvm();
        var guest = Start("--name", "stops", "--on-scheduler-loss", "stop", s_spin);
        Until(() => Shown("stops"));

        kill(Scheduler()!.Value, 9).Should().Be(0);

        guest.WaitForExit(s_patience).Should().BeTrue();
        guest.ExitCode.Should().Be(1);
        guest.StandardError.ReadToEnd().Should().Contain("KVM0405");
    }

    [SkippableFact]
    public void A_guest_killed_with_its_permit_leaves_its_CPU_to_the_next()
    {
        Published.RequireKvm();
        int cpu = FirstCpu();
        var first = Start("--name", "first", "--policy", "fcfs", "--pin", $"{cpu}", s_spin);
        Until(() => Shown("first"));
        var second = Start("--name", "second", "--policy", "fcfs", "--pin", $"{cpu}", s_count);
        Until(() => Shown("second"));

        first.Kill();

        second.WaitForExit(s_patience).Should().BeTrue();
        second.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void The_table_of_four_guests_has_a_line_each_and_is_printed_again_and_as_counters()
    {
        Published.RequireKvm();
        string[] names = ["g1", "g2", "g3", "g4"];
        foreach (string name in names)
            Start("--name", name, s_spin);
        Until(() => names.All(Shown));

        var table = Say("show");
        table.ExitCode.Should().Be(0, table.Error);
        table.Output.Should().MatchRegex(@"^policy rr, slice 4 ms, CPUs [\d,-]+, 4 guests; promised 64 of \d+ MiB, 4 of \d+ vCPUs\n");
        table.Output.Should().MatchRegex("(?m)^VM +vCPU +state +CPU +ran ms +waited ms +slices +moves +left ms +policy$");
        foreach (string name in names)
            table.Output.Should().MatchRegex($@"(?m)^{name} +0  (running|ready|leaving|next|halted) +(\d+|-) +[\d.]+ +[\d.]+ +\d+ +\d+ +(-|[\d.]+)  slice 4 ms, \d in the queue$");

        var counters = Say("show", "--prometheus").Output;
        counters.Should().Contain("# TYPE kvmsharp_sched_guests gauge\n").And.MatchRegex(@"(?m)^kvmsharp_sched_guests\{policy=""rr"",cpus=""[\d,-]+""\} 4$");
        names.Should().OnlyContain(name => counters.Contains($"vm=\"{name}\",pid=\"", StringComparison.Ordinal));

        var watch = Launch("sched", "show", "--watch");
        _guests.Add(watch);
        int seen = 0;
        while (seen < 2 && watch.StandardOutput.ReadLine() is { } line)
            seen += line.StartsWith("policy rr, ", StringComparison.Ordinal) ? 1 : 0;
        seen.Should().Be(2, "it is printed again each second");
        Published.Signal(watch, 15);
        watch.WaitForExit(s_patience).Should().BeTrue();
        watch.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void A_record_of_real_guests_is_simulated_again()
    {
        Published.RequireKvm();
        string record = Path.Combine(_folder, "record.csv");
        var scheduler = Launch("sched", "serve", "--policy", "rr", "--record", record, "--with-guests");
        Until(() => Say("show").ExitCode == 0);
        Start("--name", "a", "--class", "batch", "--priority", "3", s_count).WaitForExit(s_patience).Should().BeTrue();
        scheduler.WaitForExit(s_patience).Should().BeTrue();

        var simulated = Finish(Launch("sched", "simulate", "--policy", "fcfs,rr", "--jobs", record, "--json"));

        simulated.ExitCode.Should().Be(0, simulated.Error);
        string[] lines = File.ReadAllLines(record);
        lines[0].Should().Be("name,arrival,priority,weight,class,memory,affinity,cap,reservation,gang,vcpu,run,halt");
        lines[1..].Should().NotBeEmpty().And.OnlyContain(line => System.Text.RegularExpressions.Regex.IsMatch(line, @"^a@\d+,[\d.]+,3,1,batch,16777216,,0,0,0,0,[\d.]+,[\d.]+$"));
        simulated.Json.GetProperty("policies").GetProperty("rr").GetProperty("finished").GetInt32().Should().Be(1);
    }

    [SkippableTheory]
    [InlineData("KVM0003", "--policy", "lottery")]
    [InlineData("KVM0003", "--policy", "rap", "--weight", "0")]
    [InlineData("KVM0003", "--policy", "rap", "--weight", "-1")]
    [InlineData("KVM0003", "--policy", "rr", "--slice", "1ns")]
    [InlineData("KVM0003", "--policy", "rr", "--slice", "8760h")]
    [InlineData("KVM0003", "--policy", "priority", "--priority", "10000000")]
    [InlineData("KVM0003", "--pin", "0-")]
    [InlineData("KVM0003", "--policy", "fcfs", "--limit", "1ns")]
    [InlineData("KVM0003", "--policy", "rrp", "--capacity", "memory=lots")]
    [InlineData("KVM0404", "--pin", "8000")]
    [InlineData("KVM0003", "--policy", "rr", "--admission", "perhaps")]
    [InlineData("KVM0005", "--policy", "rr", "--engine", "soft")]
    public void What_makes_no_sense_is_refused_before_anything_starts(string id, params string[] options)
    {
        Published.Require();

        Finish(Launch(["run", s_spin, .. options])).ShouldFail(2, id, id == "KVM0003" ? [options[^1]] : []);
        Scheduler().Should().BeNull();
    }

    [SkippableTheory]
    [InlineData("KVM0002", "serve")]
    [InlineData("KVM0003", "serve", "--policy", "rr,fcfs")]
    [InlineData("KVM0003", "serve", "--policy", "rr", "--max-vcpus", "0")]
    [InlineData("KVM0404", "serve", "--policy", "rr", "--pin", "8000")]
    [InlineData("KVM0002", "why")]
    [InlineData("KVM0001", "show", "extra")]
    public void Wrong_words_for_the_scheduler_are_explained(string id, params string[] words)
    {
        Published.Require();

        Finish(Launch(["sched", .. words])).ShouldFail(2, id);
    }

    private Process Start(params string[] arguments)
    {
        string[] policy = arguments.Contains("--policy") ? [] : ["--policy", "rr"];
        var guest = Launch(["run", "--engine", "kvm", "--memory", "16M", "--console", "none", .. policy, .. arguments]);
        _guests.Add(guest);
        return guest;
    }

    private static string[] VcpuAffinities(Process guest) =>
    [
        .. from task in Directory.GetDirectories($"/proc/{guest.Id}/task").Order()
           where File.ReadAllText(Path.Combine(task, "comm")).StartsWith("vcpu", StringComparison.Ordinal)
           select File.ReadLines(Path.Combine(task, "status")).First(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)).Split(':')[1].Trim(),
    ];

    private Process Launch(params string[] arguments)
    {
        var start = new ProcessStartInfo(Published.Executable, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string name in (string[])["KVMSHARP_RUNTIME", "KVMSHARP_STATE", "KVMSHARP_CACHE"])
            start.Environment[name] = _folder;
        return Process.Start(start)!;
    }

    private Ended Say(params string[] words) => Finish(Launch(["sched", .. words]));

    private static Ended Finish(Process process) => Published.Finish(process, "");

    private bool Shown(string name, string state) =>
        Say("show", "--json") is { ExitCode: 0 } ended && ended.Json.GetProperty("schedulers")[0].GetProperty("vms").EnumerateArray()
            .Any(vm => vm.GetProperty("name").GetString() == name && vm.GetProperty("vcpus").EnumerateArray().All(vcpu => vcpu.GetProperty("state").GetString() == state));

    private bool Shown(string name)
    {
        var ended = Say("show", "--json");
        return ended.ExitCode == 0
            && ended.Json.GetProperty("schedulers")[0].GetProperty("vms").EnumerateArray().Any(vm => vm.GetProperty("name").GetString() == name
                && vm.GetProperty("vcpus").EnumerateArray().All(vcpu => vcpu.GetProperty("state").GetString() != "starting"));
    }

    private int? Scheduler()
    {
        var ended = Say("show", "--json");
        return ended.ExitCode == 0 ? ended.Json.GetProperty("schedulers")[0].GetProperty("processId").GetInt32() : null;
    }

    private static void Until(Func<bool> condition) => SpinWait.SpinUntil(condition, s_patience).Should().BeTrue();

    private static int FirstCpu() => int.Parse(
        File.ReadLines("/proc/self/status").First(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)).Split(':')[1].Trim().Split('-', ',')[0],
        System.Globalization.CultureInfo.InvariantCulture);

    [LibraryImport("libc")]
    private static partial int kill(int process, int signal);
}
