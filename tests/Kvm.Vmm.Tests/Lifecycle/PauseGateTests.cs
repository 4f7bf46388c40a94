using Kvm.Vmm.Lifecycle;

namespace Kvm.Vmm.Tests.Lifecycle;

public class PauseGateTests
{
    private int _requests;

    [Fact]
    public async Task Open_gate_lets_in_and_a_closed_one_waits_for_who_is_inside()
    {
        var gate = new PauseGate(2);
        gate.TryEnter(0, ref _requests).Should().BeTrue();
        gate.Close();
        using var empty = new ManualResetEventSlim();
        var waiter = Task.Run(() =>
        {
            gate.WaitUntilEmpty();
            empty.Set();
        });
        empty.IsSet.Should().BeFalse();
        gate.Leave(0);
        await waiter.WaitAsync(TimeSpan.FromSeconds(60));
        gate.Open();
        gate.TryEnter(1, ref _requests).Should().BeTrue();
    }

    [Fact]
    public void Closed_gate_sends_back_who_is_wanted_for_something()
    {
        var gate = new PauseGate(1);
        gate.Close();
        _requests = 1;
        gate.TryEnter(0, ref _requests).Should().BeFalse();
        gate.WaitUntilEmpty();
    }

    [Fact]
    public async Task Thread_that_waits_is_let_go_by_a_call_and_by_opening()
    {
        var gate = new PauseGate(1);
        gate.Close();
        var waiter = Task.Run(() => gate.TryEnter(0, ref _requests));
        while (!waiter.IsCompleted)
            gate.Call();
        (await waiter).Should().BeFalse();
        gate.Open();
        gate.TryEnter(0, ref _requests).Should().BeTrue();
    }

    [Theory]
    [InlineData(new[] { "d1", "d0", "p1", "p0" }, "held runs held runs")]
    [InlineData(new[] { "p1", "d1", "p0", "d0" }, "held runs")]
    [InlineData(new[] { "d1", "p1", "d0", "p0" }, "held runs")]
    [InlineData(new[] { "d1", "p1", "p0", "d0" }, "held runs")]
    [InlineData(new[] { "p1", "d1", "d0", "p0" }, "held runs")]
    public void Engine_goes_on_when_neither_debugger_nor_pause_holds_it(string[] words, string expected)
    {
        ArgumentNullException.ThrowIfNull(words);
        List<string> told = [];
        var holds = new EngineHolds((held, runs) => told.Add(held ? "held" : runs ? "runs" : "steps"));
        foreach (string word in words)
        {
            if (word[0] == 'd')
                holds.ByDebugger(word[1] == '1', word[1] == '0');
            else
                holds.ByPause(word[1] == '1');
        }

        told.Should().Equal(expected.Split(' '));
    }
}
