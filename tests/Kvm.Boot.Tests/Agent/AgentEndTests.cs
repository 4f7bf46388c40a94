using Kvm.Vmm.Agent;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests.Agent;

/// <summary>Guests that end while their agents are asked. Each has one of its own.</summary>
public sealed class AgentEndTests : IDisposable
{
    private readonly AgentGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [SkippableFact]
    public async Task A_guest_that_is_stopped_in_the_middle_of_an_exec_and_a_copy_is_an_error_at_once()
    {
        var client = await _guest.ClientAsync();
        await using var process = await client.StartAsync(new AgentCommand("sh", "-c", "echo ready; sleep 1000"));
        await process.Output.ReadExactlyAsync(new byte[6]);

        _guest.Machine.Stop(VmOutcome.StoppedByUser);
        await _guest.Machine.Ended;
        _guest.Machine.Dispose();

        (await process.Awaiting(p => p.Ended.WaitAsync(TimeSpan.FromMinutes(1))).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.Lost);
        (await client.Awaiting(c => c.PingAsync()).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.Lost);
        (await client.Awaiting(c => c.ExecAsync("true")).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.NoAgent);
    }

    [SkippableTheory]
    [InlineData(false, VmOutcome.PowerOff)]
    [InlineData(true, VmOutcome.Reboot)]
    public async Task A_guest_powers_off_or_reboots_when_it_is_asked_to(bool reboot, VmOutcome outcome)
    {
        var client = await _guest.ClientAsync();

        await client.ShutdownAsync(reboot);

        var result = await _guest.Machine.Ended.WaitAsync(TimeSpan.FromMinutes(2));
        result.Outcome.Should().Be(outcome, _guest.Console);
    }
}
