using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Reporting;

namespace Kvm.Testing.Tests;

/// <summary>The life of guests.</summary>
public sealed class GuestTests
{
    [VmFact]
    public async Task A_guest_that_is_rebooted_answers_again_and_has_forgotten()
    {
        await using var guest = await Guest.StartAsync();
        await guest.CheckAsync("touch", "/tmp/here");
        var first = guest.Machine;

        await guest.RebootAsync();

        guest.Machine.Should().NotBeSameAs(first);
        (await guest.ExecAsync("test", "-e", "/tmp/here")).ExitCode.Should().Be(1);
        guest.Console.Text.Split("GUEST-UP").Should().HaveCount(3, "it has started twice");

        (await guest.StopAsync()).Outcome.Should().Be(VmOutcome.PowerOff);
    }

    [VmFact]
    public async Task A_guest_that_panics_in_the_middle_of_a_program_fails_it_with_its_end()
    {
        await using var guest = await Guest.StartAsync(new GuestOptions { Append = "panic=-1" });
        var running = guest.ExecAsync("sh", "-c", "echo begun >/dev/console; exec sleep 1000");
        await guest.WaitForLineAsync("begun");
        var waiting = guest.WaitForLineAsync("never printed", TimeSpan.FromMinutes(5));
        // It does not answer: what it was asked for is its end.
        var asking = guest.ExecAsync("sh", "-c", "echo c >/proc/sysrq-trigger");

        var failure = await running.Invoking(task => task).Should().ThrowAsync<GuestEndedException>();
        failure.Which.Result.Outcome.Should().Be(VmOutcome.Panic);
        failure.Which.Message.Should().Contain("panic").And.Contain("sysrq");
        await asking.Invoking(task => task).Should().ThrowAsync<GuestEndedException>();
        await waiting.Invoking(task => task).Should().ThrowAsync<GuestEndedException>();
        await guest.Invoking(g => g.ExecAsync("true")).Should().ThrowAsync<GuestEndedException>();
    }

    [VmFact]
    public async Task A_guest_that_ends_before_its_agent_answers_says_how_it_ended()
    {
        var failure = await FluentActions.Awaiting(() => Guest.StartAsync(new GuestOptions { Append = "rdinit=/no/such/init panic=-1" })).Should().ThrowAsync<GuestEndedException>();
        failure.Which.Result.Outcome.Should().Be(VmOutcome.Panic);
    }

    [VmFact]
    public async Task A_guest_without_an_agent_is_given_up_when_its_time_is_over()
    {
        var options = new GuestOptions { StartTimeout = TimeSpan.FromMilliseconds(300), Append = "kvmsharp.run=loop" };
        await FluentActions.Awaiting(() => Guest.StartAsync(options with { Configure = c => c with { Append = c.Append.Replace("kvmsharp.agent=1", "", StringComparison.Ordinal) } }))
            .Should().ThrowAsync<GuestTimeoutException>();
    }

    [VmFact]
    public async Task A_start_that_is_cancelled_in_the_middle_leaves_nothing()
    {
        using var cancellation = new CancellationTokenSource();
        string? socket = null;
        var starting = Guest.StartAsync(new GuestOptions
        {
            Configure = config =>
            {
                socket = config.Vsock!.SocketPath;
                return config;
            },
        }, cancellation.Token);
        await cancellation.CancelAsync();
        await starting.Invoking(task => task).Should().ThrowAsync<OperationCanceledException>();
        if (socket is not null)
            Directory.GetFiles(Path.GetDirectoryName(socket)!, Path.GetFileName(socket) + "*").Should().BeEmpty();
    }

    [VmFact]
    public async Task A_machine_that_cannot_be_built_is_a_typed_error() =>
        await FluentActions.Awaiting(() => Guest.StartAsync(new GuestOptions { MemoryBytes = 12345 })).Should().ThrowAsync<VmmException>();

    [VmFact]
    public async Task Nothing_can_be_asked_of_a_guest_that_was_disposed()
    {
        var guest = await Guest.StartAsync();
        string socket = guest.SocketPath;
        File.Exists(socket).Should().BeTrue();
        await guest.DisposeAsync();
        File.Exists(socket).Should().BeFalse();
        await guest.Invoking(g => g.ExecAsync("true")).Should().ThrowAsync<ObjectDisposedException>();
        await guest.DisposeAsync();
    }

    [VmFact(RequiresKvm = true)]
    public async Task A_guest_that_requires_KVM_runs_on_it()
    {
        await using var guest = await Guest.StartAsync(new GuestOptions { RequiresKvm = true });
        (await guest.StopAsync()).Engine.Should().Be("kvm");
    }

    [VmFact]
    public async Task A_guest_that_requires_KVM_is_refused_with_doctors_sentence_where_there_is_none()
    {
        if (HostCheck.WhyNoKvm is not { } why)
            return;
        var failure = await FluentActions.Awaiting(() => Guest.StartAsync(new GuestOptions { RequiresKvm = true })).Should().ThrowAsync<GuestUnavailableException>();
        failure.Which.Message.Should().Contain(why);
    }
}
