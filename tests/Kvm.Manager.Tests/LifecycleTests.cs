using Kvm.Vmm;

namespace Kvm.Manager.Tests;

public class LifecycleTests
{
    private static readonly string[] s_legal =
    [
        "created starting", "starting running", "starting paused", "starting stopping", "starting stopped", "starting crashed",
        "running paused", "running stopping", "running stopped", "running crashed", "running saved",
        "paused running", "paused stopping", "paused stopped", "paused crashed", "paused saved",
        "stopping stopped", "stopping crashed", "stopping saved",
        "stopped starting", "crashed starting", "crashed stopped", "saved starting", "saved stopped",
    ];

    public static TheoryData<string> Legal => [.. s_legal];

    private static IEnumerable<(VmState From, VmState To)> Pairs => from a in Enum.GetValues<VmState>() from b in Enum.GetValues<VmState>() select (a, b);

    [Theory]
    [MemberData(nameof(Legal))]
    public void What_may_follow_is_allowed(string edge)
    {
        var states = edge.Split(' ').Select(name => (VmState)Lifecycle.Names.ToList().IndexOf(name)).ToList();
        Lifecycle.Allows(states[0], states[1]).Should().BeTrue();
        Lifecycle.Check("web", states[0], states[1]);
    }

    [Fact]
    public void Whatever_else_is_asked_for_is_refused_with_the_state_named()
    {
        int refused = 0;
        foreach (var (from, to) in Pairs.Where(pair => !s_legal.Contains($"{Lifecycle.NameOf(pair.From)} {Lifecycle.NameOf(pair.To)}")))
        {
            var error = FluentActions.Invoking(() => Lifecycle.Check("web", from, to)).Should().Throw<VmmException>().Which;
            error.Error.Id.Should().Be("KVM0601");
            error.Message.Should().Be($"web is {Lifecycle.NameOf(from)}, and {Lifecycle.NameOf(to)} cannot follow that");
            refused++;
        }

        refused.Should().Be(64 - s_legal.Length);
    }

    [Fact]
    public void A_machine_that_no_process_has_goes_nowhere_but_by_a_start() =>
        Pairs.Where(pair => !Lifecycle.IsActive(pair.From) && Lifecycle.IsActive(pair.To) && Lifecycle.Allows(pair.From, pair.To))
            .Should().OnlyContain(pair => pair.To == VmState.Starting);

    [Theory]
    [InlineData("no", "no")]
    [InlineData("always", "always")]
    [InlineData("on-failure", "on-failure")]
    [InlineData("on-failure:7", "on-failure:7")]
    public void A_restart_policy_is_what_it_says(string text, string again) => RestartPolicy.Parse(text)!.Value.ToString().Should().Be(again);

    [Theory]
    [InlineData("")]
    [InlineData("No")]
    [InlineData("on-failure:")]
    [InlineData("on-failure:0")]
    [InlineData("on-failure:-1")]
    [InlineData("on-failure:1:2")]
    [InlineData("always:3")]
    [InlineData("on-failure:99999999999")]
    public void What_is_no_restart_policy_is_none(string text) => RestartPolicy.Parse(text).Should().BeNull();

    [Fact]
    public void A_failing_guest_is_waited_for_twice_as_long_each_time_and_a_minute_at_most()
    {
        var delays = Enumerable.Range(1, 40).Select(failures => RestartPolicy.Delay(failures).TotalMilliseconds).ToList();
        delays.Take(5).Should().Equal(100, 200, 400, 800, 1600);
        delays.Should().BeInAscendingOrder().And.OnlyContain(delay => delay <= 60_000);
        delays[^1].Should().Be(60_000);
    }

    [Theory]
    [InlineData("on-failure:2", true, 2, true)]
    [InlineData("on-failure:2", true, 3, false)]
    [InlineData("on-failure", true, 1000, true)]
    [InlineData("on-failure", false, 0, false)]
    [InlineData("always", false, 0, true)]
    [InlineData("no", true, 1, false)]
    public void A_policy_applies_to_the_ends_it_names(string policy, bool crashed, int failures, bool applies) =>
        RestartPolicy.Parse(policy)!.Value.Applies(crashed, failures).Should().Be(applies);
}
