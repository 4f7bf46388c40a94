using System.Text;
using Kvm.Cli.Tests;
using Kvm.Manager.Networks;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Tests.Networks;

public sealed class NetworkStoreTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryState _state = new();
    private readonly NetworkStore _store;

    public NetworkStoreTests() => _store = new NetworkStore(_state.Options);

    public void Dispose()
    {
        foreach (var entry in _store.List())
            _store.Remove(entry.Record.Name, force: true);
        _state.Dispose();
    }

    [Fact]
    public void A_network_is_kept_by_its_name_and_one_that_overlaps_is_refused()
    {
        Define("lab", "10.20.0.0/24").Model!.SubnetText.Should().Be("10.20.0.0/24");
        Refused(() => Define("other", "10.20.0.128/25"), "KVM0662", "overlaps 10.20.0.0/24 of the network lab");
        Refused(() => Define("wide", "10.0.0.0/8"), "KVM0662", "lab");
        Define("other", "10.20.1.0/24");
        // Anew it may have the addresses that it has.
        Define("lab", "10.20.0.0/25").Model!.SubnetText.Should().Be("10.20.0.0/25");
        _store.List().Select(entry => entry.Record.Name).Should().Equal("lab", "other");
        _store.SetAutoStart("lab", true).AutoStart.Should().BeTrue();
        _store.Get("lab").Record.AutoStart.Should().BeTrue();
        _store.Remove("lab", force: false);
        Refused(() => _store.Get("lab"), "KVM0660", "'lab'");
        Refused(() => _store.Get("othre"), "KVM0660", "did you mean other?");
        Refused(() => _store.Stop("other"), "KVM0661", "does not run");
    }

    [Fact]
    public void A_description_that_is_wrong_is_not_kept()
    {
        Refused(() => _store.Define("{}"u8.ToArray(), "x.json"), "KVM0190", "x.json");
        Refused(() => Define("../up", "10.1.0.0/24"), "KVM0190", "");
        _store.List().Should().BeEmpty();
    }

    [Fact]
    public void A_record_that_was_cut_is_of_that_network_alone()
    {
        Define("lab", "10.20.0.0/24");
        Define("other", "10.20.1.0/24");
        File.WriteAllText(Path.Combine(_store.Folder, "lab", "record.json"), "{");
        _store.List().Should().HaveCount(2).And.Contain(entry => entry.Record.Name == "lab" && entry.Problem!.StartsWith("KVM0664"));
        Refused(() => _store.Start("lab"), "KVM0664", "lab");
        _store.Remove("lab", force: true);
        _store.List().Should().ContainSingle();
    }

    [SkippableFact]
    public void A_network_that_is_started_is_a_process_of_its_own_until_it_is_stopped()
    {
        Published.Require();
        Define("lab", "10.20.0.0/24");
        var started = _store.Start("lab");
        started.Runs.Should().BeTrue();
        Refused(() => _store.Start("lab"), "KVM0661", "lab runs");
        Refused(() => Define("lab", "10.21.0.0/24"), "KVM0661", "lab runs");
        Refused(() => _store.Remove("lab", force: false), "KVM0661", "lab runs");
        var status = _store.Status("lab")!.Value;
        status.GetProperty("leases").EnumerateArray().Should().ContainSingle().Which.GetProperty("address").GetString().Should().Be("10.20.0.1");
        _store.Ensure("lab").Process.Should().Be(started.Process);
        _store.Stop("lab").Runs.Should().BeFalse();
        started.Process!.Value.IsAlive.Should().BeFalse();
        _store.Status("lab").Should().BeNull();
        _store.Get("lab").Record.Runs.Should().BeFalse("nobody starts again what was stopped");
        Directory.GetFiles(Path.Combine(_state.Options.RuntimeFolder, "networks")).Should().BeEmpty();
    }

    [SkippableFact]
    public void A_network_whose_process_was_killed_is_started_again_by_whoever_looks_and_no_more_than_five_times_in_a_row()
    {
        Published.Require();
        Define("lab", "10.20.0.0/24");
        var process = _store.Start("lab").Process!.Value;
        for (int i = 0; i < 5; i++)
        {
            process.Kill();
            process.WaitForEnd(s_long).Should().BeTrue();
            var again = _store.Get("lab").Record;
            again.Runs.Should().BeTrue();
            again.Process.Should().NotBe(process);
            process = again.Process!.Value;
        }

        process.Kill();
        process.WaitForEnd(s_long).Should().BeTrue();
        // Within ten seconds of the start before, unless this machine is very slow; then it is started once more.
        _store.Get("lab").Record.Should().Match<NetworkRecord>(record => record.Runs || record.Problem!.Contains("5 times"));
        _store.Stop("lab");
        _store.Start("lab").Runs.Should().BeTrue();
    }

    [SkippableFact]
    public void A_hundred_kills_during_operations_leave_one_network_in_one_state_and_nobody_behind()
    {
        Published.Require();
        var random = new Random(3);
        string file = Path.Combine(Path.GetDirectoryName(_state.Options.StateFolder)!, "lab.json");
        File.WriteAllText(file, Text("lab", "10.20.0.0/24"));
        for (int i = 0; i < 100; i++)
        {
            string[] operation = random.Next(6) switch
            {
                0 => ["define", file],
                1 => ["stop", "lab"],
                2 => ["rm", "--force", "lab"],
                3 => ["ls"],
                4 => ["autostart", "lab"],
                _ => ["start", "lab"],
            };
            if (random.Next(3) == 0 && _store.TryRead("lab") is null)
                Define("lab", "10.20.0.0/24");
            var start = new System.Diagnostics.ProcessStartInfo(Published.Executable, ["net", .. operation]) { RedirectStandardOutput = true, RedirectStandardError = true };
            start.Environment["KVMSHARP_STATE"] = _state.Options.StateFolder;
            start.Environment["KVMSHARP_RUNTIME"] = _state.Options.RuntimeFolder;
            using var command = System.Diagnostics.Process.Start(start)!;
            // Any moment of it, from before its first instruction to after its last.
            command.WaitForExit(random.Next(40));
            if (random.Next(3) == 0)
                _store.TryRead("lab")?.Process?.Kill();
            command.Kill();
            command.WaitForExit(s_long).Should().BeTrue();
            foreach (var entry in _store.List())
                entry.Problem.Should().BeNull();
        }

        foreach (var entry in _store.List())
            _store.Remove(entry.Record.Name, force: true);
        _store.List().Should().BeEmpty();
        Processes().Should().BeEmpty();
        Define("lab", "10.20.0.0/24");
        _store.Start("lab").Runs.Should().BeTrue("what a killed one left is in nobody's way");
    }

    /// <summary>The program's processes that work on this test's state folder, once those that are about to end have ended.</summary>
    private List<int> Processes()
    {
        List<int> left = [];
        foreach (string folder in Directory.GetDirectories("/proc").Where(folder => char.IsAsciiDigit(Path.GetFileName(folder)[0])))
        {
            string line;
            try
            {
                line = File.ReadAllText(Path.Combine(folder, "cmdline"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue;
            }

            if (line.Contains(_state.Options.StateFolder, StringComparison.Ordinal) && HostProcess.Find(int.Parse(Path.GetFileName(folder))) is { } process && !process.WaitForEnd(s_long))
                left.Add(process.Id);
        }

        return left;
    }

    private NetworkEntry Define(string name, string subnet) => _store.Define(Encoding.UTF8.GetBytes(Text(name, subnet)), $"{name}.json");

    private static string Text(string name, string subnet) => $$"""{ "name": "{{name}}", "subnet": "{{subnet}}", "machines": [ { "name": "web1" } ] }""";

    private static void Refused(Action action, string id, string part)
    {
        var error = FluentActions.Invoking(action).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id, error.Message);
        error.Message.Contains(part, StringComparison.Ordinal).Should().BeTrue(error.Message);
    }
}
