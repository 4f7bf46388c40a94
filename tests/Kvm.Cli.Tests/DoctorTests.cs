using System.Text.Json;

namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp doctor</c> on this host, with /dev/kvm, without it, and without permission.</summary>
public class DoctorTests
{
    private static JsonElement Check(JsonElement report, string id) =>
        report.GetProperty("checks").EnumerateArray().Single(c => c.GetProperty("id").GetString() == id);

    [SkippableFact]
    public void With_KVM_it_names_the_backend_and_the_cost_of_an_exit()
    {
        Published.RequireKvm();
        var ended = Published.Run("doctor", "--json");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Error.Should().BeEmpty();
        var report = ended.Json;
        report.GetProperty("backend").GetString().Should().BeOneOf("vmx", "svm", "pvm", "unknown");
        report.GetProperty("probes").GetProperty("exitMicroseconds").GetDouble().Should().BePositive();
        report.GetProperty("probes").GetProperty("longMode").GetBoolean().Should().BeTrue();
        report.GetProperty("capabilities").GetArrayLength().Should().BeGreaterThan(100);
        Check(report, "device").GetProperty("status").GetString().Should().Be("ok");
    }

    [SkippableFact]
    public void As_text_it_says_which_engine_to_take()
    {
        Published.RequireKvm();
        var ended = Published.Run("doctor");
        ended.ExitCode.Should().Be(0);
        ended.Output.Should().MatchRegex("(?m)^ok      /dev/kvm          can be opened$").And.MatchRegex("(?m)^--engine auto   takes (kvm|soft): ")
            .And.NotContain("\x1b", "a pipe is no terminal");
        Published.Run("doctor", "--verbose").Output.Split('\n').Count(l => l.StartsWith("  KVM_CAP_")).Should().BeGreaterThan(100);
    }

    [SkippableFact]
    public void Without_the_device_it_tells_the_cause_and_what_mends_it()
    {
        Published.Require();
        Published.RequireRoot();
        var ended = BadInputTests.WithoutDevice("doctor --json");
        var device = Check(ended.Json, "device");
        device.GetProperty("status").GetString().Should().Be("failed");
        device.GetProperty("cause").GetString().Should().NotBeNullOrEmpty();
        device.GetProperty("fix").GetString().Should().NotBeNullOrEmpty();
        ended.Json.GetProperty("backend").GetString().Should().Be("none");
        var usable = ended.Json.GetProperty("engines").EnumerateArray().Any(e => e.GetProperty("usable").GetBoolean());
        ended.ExitCode.Should().Be(usable ? 0 : 4);
    }

    [SkippableFact]
    public void Without_permission_it_tells_the_cause_and_what_mends_it()
    {
        Published.RequireKvm();
        Published.RequireRoot();
        var ended = BadInputTests.AsNobody("doctor --json");
        var device = Check(ended.Json, "device");
        device.GetProperty("status").GetString().Should().Be("failed");
        device.GetProperty("fix").GetString().Should().ContainAny("chmod 660", "usermod -aG kvm");
    }
}
