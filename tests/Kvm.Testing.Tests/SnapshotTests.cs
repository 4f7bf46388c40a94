using Kvm.Vmm.Reporting;
using Kvm.Vmm.Storage;

namespace Kvm.Testing.Tests;

/// <summary>Guests set back.</summary>
public sealed class SnapshotTests
{
    [VmFact]
    public async Task A_guest_that_is_set_back_has_forgotten_what_came_later_and_its_clock_is_right()
    {
        await using var guest = await Guest.StartAsync();
        await guest.CheckAsync("sh", "-c", "echo before >/tmp/state; echo printed before >/dev/console");
        await guest.WaitForLineAsync("printed before");
        var snapshot = await guest.SnapshotAsync();
        (await guest.CheckAsync("cat", "/tmp/state")).Should().Be("before", "it goes on");
        for (int i = 0; i < 2; i++)
        {
            await guest.CheckAsync("sh", "-c", "echo after >/tmp/state; echo printed after >/dev/console");
            await guest.WaitForLineAsync("printed after");

            await guest.RestoreAsync(snapshot);

            (await guest.CheckAsync("cat", "/tmp/state")).Should().Be("before");
            guest.Console.Text.Should().Contain("printed before").And.NotContain("printed after");
            var now = DateTimeOffset.FromUnixTimeSeconds(long.Parse(await guest.CheckAsync("date", "+%s"), System.Globalization.CultureInfo.InvariantCulture));
            now.Should().BeCloseTo(DateTimeOffset.UtcNow, TimeSpan.FromMinutes(1));
        }
    }

    [VmFact]
    public async Task A_program_that_ran_when_the_state_was_taken_runs_after_a_restore()
    {
        await using var guest = await Guest.StartAsync();
        await guest.CheckAsync("sh", "-c", "while :; do sleep 0.1; echo tick >>/tmp/ticks; done >/dev/null 2>&1 &");
        var snapshot = await guest.SnapshotAsync();
        await guest.RestoreAsync(snapshot);
        await guest.CheckAsync("sh", "-c", "rm -f /tmp/ticks; until [ -e /tmp/ticks ]; do sleep 0.1; done");
    }

    [VmFact]
    public async Task A_guest_that_has_ended_comes_back()
    {
        await using var guest = await Guest.StartAsync(new GuestOptions { Append = "panic=-1" });
        var snapshot = await guest.SnapshotAsync();
        await guest.Awaiting(g => g.ExecAsync("sh", "-c", "echo c >/proc/sysrq-trigger")).Should().ThrowAsync<GuestEndedException>();
        await guest.Awaiting(g => g.SnapshotAsync()).Should().ThrowAsync<GuestEndedException>();

        await guest.RestoreAsync(snapshot);

        (await guest.CheckAsync("echo", "back")).Should().Be("back");
        (await guest.StopAsync()).Outcome.Should().Be(VmOutcome.PowerOff);
    }

    [VmFact]
    public async Task What_was_asked_of_a_guest_fails_when_it_is_set_back()
    {
        await using var guest = await Guest.StartAsync();
        var snapshot = await guest.SnapshotAsync();
        var running = guest.ExecAsync("sh", "-c", "echo begun >/dev/console; exec sleep 1000");
        await guest.WaitForLineAsync("begun");
        await guest.RestoreAsync(snapshot);
        await running.Awaiting(task => task).Should().ThrowAsync<GuestEndedException>();
    }

    [VmFact]
    public async Task Two_guests_at_a_network_are_set_back_and_reach_each_other()
    {
        using var network = GuestNetwork.Of("one", "two");
        await using var one = await Guest.StartAsync(new GuestOptions { Name = "one", Network = network });
        await using var two = await Guest.StartAsync(new GuestOptions { Name = "two", Network = network });
        var snapshot = await one.SnapshotAsync();
        await one.RestoreAsync(snapshot);
        await one.CheckAsync("sh", "-c", "until ping -c 1 -W 1 two.test; do sleep 0.1; done");
    }

    [VmFact]
    public async Task A_fixture_sets_its_guest_back_before_each_test()
    {
        _ = GuestImage.Small;
        await using var fixture = new PreparedGuest();
        await fixture.StartAsync();
        fixture.Shared.Should().BeNull();
        for (int i = 0; i < 3; i++)
        {
            await fixture.BeforeTestAsync();
            (await fixture.Guest.CheckAsync("sh", "-c", "cat /tmp/log; echo test >>/tmp/log")).Should().Be("prepared");
        }
    }

    [VmFact]
    public async Task A_fixture_whose_guest_writes_to_disks_says_that_tests_share_it()
    {
        _ = GuestImage.Small;
        string disk = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(disk, new byte[1 << 20]);
            await using var fixture = new PreparedGuest(disk);
            await fixture.StartAsync();
            fixture.Shared.Should().Contain("disks");
            await fixture.BeforeTestAsync();
            await fixture.Guest.CheckAsync("sh", "-c", "echo test >>/tmp/log");
            await fixture.BeforeTestAsync();
            (await fixture.Guest.CheckAsync("cat", "/tmp/log")).Should().Be("prepared\ntest");
        }
        finally
        {
            File.Delete(disk);
        }
    }

    private sealed class PreparedGuest(string? disk = null) : VmFixture
    {
        protected override GuestOptions Options => new()
        {
            Configure = config => disk is null ? config : config with { Disks = [new DiskConfig { Path = disk }] },
        };

        protected override Task PrepareAsync(Guest guest) => guest.CheckAsync("sh", "-c", "echo prepared >/tmp/log");
    }
}
