using System.Text.Json;

namespace Kvm.Cli.Tests;

/// <summary>Which engine runs, on hosts with and without /dev/kvm, and runs that repeat.</summary>
public class EngineTests
{
    [SkippableTheory]
    [InlineData("auto")]
    [InlineData("soft")]
    public void Without_dev_kvm_a_guest_runs_in_software(string engine)
    {
        Published.Require();
        RequireNamespaces();
        var ended = BadInputTests.WithoutDevice($"run {Guests.Six} --engine {engine} --json");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Error.Should().Contain("!", "the guest's console is on standard error");
        ended.Json.GetProperty("engine").GetString().Should().Be("soft");
        ended.Json.GetProperty("hostBackend").GetString().Should().Be("none");
        if (engine == "auto")
            ended.Error.Should().Contain("the software engine runs this guest: /dev/kvm");
        else
            ended.Error.Should().NotContain("kvmsharp:", "what was asked for needs no explanation");
    }

    [SkippableFact]
    public void Without_dev_kvm_doctor_says_why_and_that_software_runs_guests()
    {
        Published.Require();
        RequireNamespaces();
        var ended = BadInputTests.WithoutDevice("doctor --json");
        ended.ExitCode.Should().Be(0, ended.Output);
        var advice = ended.Json.GetProperty("advice");
        advice.GetProperty("engine").GetString().Should().Be("soft");
        advice.GetProperty("why").GetString().Should().NotBeNullOrEmpty();
        var engines = ended.Json.GetProperty("engines").EnumerateArray().ToDictionary(e => e.GetProperty("name").GetString()!, e => e.GetProperty("usable").GetBoolean());
        engines.Should().Contain("soft", true).And.Contain("kvm", false);
        ended.Json.GetProperty("checks").EnumerateArray().Should().Contain(c => c.GetProperty("status").GetString() == "failed" && c.GetProperty("cause").GetString() != "");
    }

    [SkippableFact]
    public void Two_deterministic_runs_tell_the_same()
    {
        Published.Require();
        string[] words = ["run", Guests.Echo, "--engine", "soft", "--deterministic", "--seed", "3", "--timeout", "300ms", "--json"];
        var first = Published.Run(words);
        first.ExitCode.Should().Be(13, "nothing is ever typed, and guest time goes on");
        words[1] = Guests.Six;
        var one = Published.Run(words).Json;
        var two = Published.Run(words).Json;
        one.GetProperty("deterministic").GetProperty("memoryHash").GetString().Should().MatchRegex("^xxh64:[0-9a-f]{16}$");
        one.GetProperty("deterministic").GetRawText().Should().Be(two.GetProperty("deterministic").GetRawText());
        one.GetProperty("deterministic").GetProperty("seed").GetInt32().Should().Be(3);
        Published.Run("run", Guests.Six, "--engine", "soft", "--json").Json.GetProperty("deterministic").ValueKind.Should().Be(JsonValueKind.Null);
    }

    [SkippableFact]
    public void Shadow_paging_is_counted_in_the_report_and_refused_on_KVM()
    {
        Published.Require();
        var paging = Published.Run("run", Guests.Six, "--engine", "soft", "--paging", "shadow", "--json").Json.GetProperty("paging");
        paging.GetProperty("mode").GetString().Should().Be("shadow");
        paging.GetProperty("shadow").GetProperty("fills").GetInt64().Should().BeGreaterThanOrEqualTo(0);
        Published.Run("run", Guests.Six, "--engine", "soft", "--json").Json.GetProperty("paging").GetProperty("mode").GetString().Should().Be("tlb");
        Published.Run("run", Guests.Six, "--engine", "kvm", "--paging", "shadow").ShouldFail(2, "KVM0209", "--engine soft");
        Published.Run("run", Guests.Six, "--paging", "nested").ShouldFail(2, "KVM0003", "--paging");
    }

    [SkippableFact]
    public void A_processor_model_is_refused_on_KVM()
    {
        Published.Require();
        Published.Run("run", Guests.Six, "--engine", "soft", "--cpu", "v3").ExitCode.Should().Be(Published.Run("run", Guests.Six, "--engine", "soft").ExitCode);
        Published.Run("run", Guests.Six, "--engine", "kvm", "--cpu", "v3").ShouldFail(2, "KVM0210", "--engine soft");
    }

    [SkippableFact]
    public void A_deterministic_run_on_KVM_is_refused_and_explained()
    {
        Published.Require();
        Published.Run("run", Guests.Six, "--engine", "kvm", "--deterministic").ShouldFail(2, "KVM0208", "--engine soft");
        Published.Run("run", Guests.Six, "--deterministic", "--seed", "-1").ExitCode.Should().Be(2);
        Published.Run("run", Guests.Six, "--deterministic", "--seed", "x").ShouldFail(2, "KVM0003", "--seed");
    }

    [SkippableFact]
    public void A_deterministic_guest_reads_nothing_from_standard_input()
    {
        Published.Require();
        var ended = Published.Shell($"""echo hello q | "$KVMSHARP" run {Guests.Echo} --engine soft --deterministic --timeout 300ms""");
        ended.ExitCode.Should().Be(13);
        ended.Output.Should().Be("R");
    }

    private static void RequireNamespaces()
    {
        Published.RequireRoot();
        var tried = Published.Shell("unshare -m true");
        Skip.If(tried.ExitCode != 0, $"this host lets nobody hide /dev/kvm: {tried.Error.Trim()}");
    }
}
