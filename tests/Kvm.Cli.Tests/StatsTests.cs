using System.Text.Json;

namespace Kvm.Cli.Tests;

public class StatsTests
{
    [SkippableFact]
    public void A_running_guest_is_shown_by_its_name_until_it_ends()
    {
        Published.Require();
        var guest = Published.Start("run", Guests.Loop, "--engine", "soft", "--name", "stats-loop");
        guest.StandardOutput.Read().Should().Be('R');
        Published.Run("stats").Output.Split('\n').Should().Contain("stats-loop");
        var two = Published.Run("stats", "stats-loop", "--count", "2", "--interval", "100ms", "--json");
        two.ExitCode.Should().Be(0, two.Error);
        var answers = two.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        answers.Should().HaveCount(2);
        answers[1].GetProperty("exits").GetProperty("io").GetInt64().Should().Be(1);
        answers[1].GetProperty("upMs").GetDouble().Should().BeGreaterThan(answers[0].GetProperty("upMs").GetDouble());
        var text = Published.Run("stats", "stats-loop", "--count", "1");
        text.Output.Should().StartWith("stats-loop  soft  up ").And.Contain("io 0x3f8 write COM1_DATA").And.NotContain("\u001b");
        var watcher = Published.Start("stats", "stats-loop", "--json");
        watcher.StandardOutput.ReadLine().Should().StartWith("{");
        Published.Signal(guest, 15);
        Published.Finish(guest).ExitCode.Should().Be(143);
        Published.Finish(watcher).ExitCode.Should().Be(0, "the guest has ended");
        Published.Run("stats", "stats-loop").ShouldFail(1, "KVM0306", "stats-loop");
    }

    [SkippableFact]
    public void A_signal_ends_the_watching_and_not_the_guest()
    {
        Published.Require();
        var guest = Published.Start("run", Guests.Loop, "--engine", "soft", "--name", "stats-signal");
        guest.StandardOutput.Read().Should().Be('R');
        var watcher = Published.Start("stats", "stats-signal", "--json", "--interval", "50ms");
        watcher.StandardOutput.ReadLine().Should().StartWith("{");
        Published.Signal(watcher, 2);
        Published.Finish(watcher).ExitCode.Should().Be(0);
        Published.Run("stats", "stats-signal", "--count", "1").ExitCode.Should().Be(0);
        Published.Signal(guest, 15);
        Published.Finish(guest).ExitCode.Should().Be(143);
    }

    [SkippableTheory]
    [InlineData("nobody", 1, "KVM0306")]
    [InlineData("../x", 1, "KVM0306")]
    [InlineData("x|--interval|1ms", 2, "KVM0003")]
    [InlineData("x|--count|none", 2, "KVM0003")]
    public void What_cannot_be_asked_is_told(string words, int exitCode, string id)
    {
        Published.Require();
        Published.Run(["stats", .. words.Split('|')]).ShouldFail(exitCode, id);
    }
}
