using Kvm.Manager.Faults;

namespace Kvm.Manager.Tests;

public class FaultRulesTests
{
    private static readonly DateTimeOffset s_now = DateTimeOffset.UnixEpoch.AddDays(1);

    [Theory]
    [InlineData("")]
    [InlineData("panic=restart")]
    [InlineData("panic=dump,watchdog=dump+restore,hang:1500ms=dump+kill,unhealthy=pause,crash=restart")]
    [InlineData("hang:2000ms=none")]
    public void What_is_said_of_faults_is_understood_as_it_is_written(string text)
    {
        FaultRules.Parse(text, out var rules, Milliseconds).Should().BeNull();
        rules.ToString().Should().Be(text);
    }

    [Theory]
    [InlineData("panic")]
    [InlineData("panik=restart")]
    [InlineData("panic=reboot")]
    [InlineData("panic=dump+dump")]
    [InlineData("panic=")]
    [InlineData("hang:x=restart")]
    [InlineData("hang:10ms=restart")]
    [InlineData("panic:1000ms=restart")]
    public void What_is_no_rule_is_refused(string text)
    {
        FaultRules.Parse(text, out var rules, Milliseconds).Should().NotBeNull();
        rules.Should().BeSameAs(FaultRules.Default);
    }

    [Theory]
    [InlineData("vsock:1027")]
    [InlineData("tcp:8080")]
    [InlineData("tcp:10.0.0.7:80,interval=20ms,failures=1")]
    [InlineData("tcp:[::1]:80,timeout=20ms,start=30ms")]
    public void Health_check_is_understood_as_it_is_written(string text)
    {
        HealthCheck.Parse(text, out var check, Milliseconds).Should().BeNull();
        HealthCheck.Parse(check.ToString(), out var again, Milliseconds).Should().BeNull();
        again.Should().Be(check);
    }

    [Theory]
    [InlineData("8080")]
    [InlineData("udp:53")]
    [InlineData("tcp:0")]
    [InlineData("tcp:70000")]
    [InlineData("tcp:host:80")]
    [InlineData("vsock:")]
    [InlineData("tcp:80,interval=1ms")]
    [InlineData("tcp:80,failures=0")]
    [InlineData("tcp:80,often=1")]
    public void What_is_no_health_check_is_refused(string text) => HealthCheck.Parse(text, out _, Milliseconds).Should().NotBeNull();

    [Theory]
    [InlineData("", RestartWhen.No, "panic", false, false)]
    [InlineData("panic=restart", RestartWhen.No, "panic", true, false)]
    [InlineData("panic=restore", RestartWhen.No, "panic", true, true)]
    [InlineData("panic=restore", RestartWhen.No, "triple-fault", false, false)]
    [InlineData("crash=restart", RestartWhen.No, "triple-fault", true, false)]
    [InlineData("crash=restart", RestartWhen.No, "worker-died", true, false)]
    [InlineData("panic=kill", RestartWhen.Always, "panic", false, false)]
    [InlineData("hang=restore", RestartWhen.OnFailure, "hung", true, true)]
    [InlineData("unhealthy=kill", RestartWhen.OnFailure, "unhealthy", false, false)]
    [InlineData("watchdog=pause", RestartWhen.OnFailure, "watchdog", true, false)]
    public void What_follows_an_end_is_what_was_said_of_its_fault(string faults, RestartWhen when, string outcome, bool starts, bool restores)
    {
        FaultRules.Parse(faults, out var rules, Milliseconds).Should().BeNull();
        var running = TemporaryState.Record("web") with { State = VmState.Running, Faults = rules, Restart = new RestartPolicy(when) };
        var ended = running.Ended(outcome, 10, s_now);
        ended.State.Should().Be(VmState.Crashed);
        (ended.RestartAt is not null, ended.RestoresNext).Should().Be((starts, restores));
        ended.IsSupervised.Should().Be(when != RestartWhen.No || rules.StartsAgain);
    }

    [Fact]
    public void Stop_that_somebody_asked_for_is_no_fault()
    {
        FaultRules.Parse("crash=restart,panic=restore", out var rules, Milliseconds).Should().BeNull();
        var stopping = TemporaryState.Record("web") with { State = VmState.Stopping, Ending = EndRequest.Stop, Faults = rules };
        stopping.Ended("panic", 10, s_now).Should().Match<VmRecord>(ended => ended.RestartAt == null && !ended.RestoresNext && ended.State == VmState.Stopped);
    }

    [Fact]
    public void Restart_under_a_rule_waits_and_counts_as_the_policy_does()
    {
        FaultRules.Parse("panic=restore", out var rules, Milliseconds).Should().BeNull();
        var running = TemporaryState.Record("web") with { State = VmState.Running, Since = s_now, Faults = rules, Restart = new RestartPolicy(RestartWhen.OnFailure, 2), Failures = 1 };
        running.Ended("panic", 10, s_now).RestartAt.Should().Be(s_now + RestartPolicy.Delay(2));
        (running with { Failures = 2 }).Ended("panic", 10, s_now).Should().Match<VmRecord>(ended => ended.RestartAt == null && !ended.RestoresNext);
    }

    [Fact]
    public void Record_keeps_its_rules_and_one_of_an_earlier_program_has_none()
    {
        FaultRules.Parse("hang:1500ms=dump+restart", out var rules, Milliseconds).Should().BeNull();
        HealthCheck.Parse("vsock:7", out var check, Milliseconds).Should().BeNull();
        var record = TemporaryState.Record("web") with { Faults = rules, Health = check, HealthState = "healthy", RestoresNext = true };
        var read = VmRecordJson.Parse(VmRecordJson.ToBytes(record).ToArray(), "web");
        (read.Faults.ToString(), read.Health, read.HealthState, read.RestoresNext).Should().Be((rules.ToString(), check, "healthy", true));
        string text = System.Text.Encoding.UTF8.GetString(VmRecordJson.ToBytes(TemporaryState.Record("web")).Span);
        foreach (string member in (string[])["\"faults\":\"\",", "\"health\":null,", "\"healthState\":null,", "\"restoresNext\":false,", "\"pauseStopsTime\":null,"])
            text = text.Replace(member, "", StringComparison.Ordinal);
        var old = VmRecordJson.Parse(System.Text.Encoding.UTF8.GetBytes(text), "web");
        (old.Faults.ToString(), old.Health, old.HealthState, old.RestoresNext).Should().Be(("", null, null, false));
    }

    private static TimeSpan? Milliseconds(string text) => text.EndsWith("ms", StringComparison.Ordinal) && uint.TryParse(text[..^2], out uint ms) ? TimeSpan.FromMilliseconds(ms) : null;
}
