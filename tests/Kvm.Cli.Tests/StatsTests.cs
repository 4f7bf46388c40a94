using System.Diagnostics;
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

    [SkippableFact]
    public void All_guests_are_shown_as_they_come_and_go_until_a_signal()
    {
        Published.Require();
        var first = Loop("stats-all-a");
        var watcher = Published.Start("stats", "--json", "--interval", "50ms");
        Next(watcher, "stats-all-a").GetProperty("engine").GetString().Should().Be("soft");
        var second = Loop("stats-all-b");
        Next(watcher, "stats-all-b").GetProperty("vcpus").GetArrayLength().Should().Be(1);
        Published.Run("stats", "--count", "2", "--interval", "50ms").Output.Should().StartWith("NAME ").And.NotContain("\u001b")
            .And.MatchRegex(@"stats-all-a +soft +[0-9.]+ s +1 +- +- +- +io\n").And.MatchRegex(@"stats-all-b +soft +[0-9.]+ s +1 +[0-9.]+ % +[0-9]+ +[0-9]+ +io\n");
        Published.Signal(first, 15);
        Published.Finish(first).ExitCode.Should().Be(143);
        double ended = Published.Run("stats", "stats-all-b", "--count", "1", "--json").Json.GetProperty("upMs").GetDouble();
        // What was asked when the first guest had ended: the round after one whose end was later, in which names are in order.
        while (Next(watcher, "stats-all-b").GetProperty("upMs").GetDouble() <= ended)
            continue;
        Next(watcher, "stats-all-b", without: "stats-all-a");
        Published.Signal(watcher, 2);
        Published.Finish(watcher).ExitCode.Should().Be(0);
        Published.Signal(second, 15);
        Published.Finish(second).ExitCode.Should().Be(143);
    }

    [SkippableFact]
    public void A_guest_that_does_not_answer_is_said_so_and_holds_up_no_other()
    {
        Published.Require();
        const int stop = 19, goOn = 18;
        var stuck = Loop("stats-stuck");
        var other = Loop("stats-other");
        Published.Signal(stuck, stop);
        var watcher = Published.Start("stats", "--json", "--interval", "50ms");
        Next(watcher, "stats-other").GetProperty("engine").GetString().Should().Be("soft");
        Next(watcher, "stats-stuck").GetProperty("error").GetString().Should().Be("KVM0306");
        Published.Run("stats", "--count", "1").Output.Should().MatchRegex("stats-stuck +stats-stuck does not answer\n");
        Published.Signal(stuck, goOn);
        while (Next(watcher, "stats-stuck").TryGetProperty("error", out _))
            continue;
        foreach (var (process, signal, code) in ((Process, int, int)[])[(watcher, 2, 0), (stuck, 15, 143), (other, 15, 143)])
        {
            Published.Signal(process, signal);
            Published.Finish(process).ExitCode.Should().Be(code);
        }
    }

    [SkippableFact]
    public void Another_user_is_hung_up_on_also_where_the_socket_would_let_it_in()
    {
        Published.Require();
        Published.RequireRoot();
        var ended = Published.Shell($$"""
            export KVMSHARP_RUNTIME=$(mktemp -d) LC_ALL=C
            "$KVMSHARP" run {{Guests.Loop}} --engine soft --name stats-other </dev/null >$KVMSHARP_RUNTIME/console & guest=$!
            for i in $(seq 600); do [ ! -s $KVMSHARP_RUNTIME/console ] || break; sleep 0.1; done
            chmod a+x $KVMSHARP_RUNTIME $KVMSHARP_RUNTIME/vms; chmod a+rw $KVMSHARP_RUNTIME/vms/stats-other.sock
            ask() { "$@" perl -MIO::Socket::UNIX -e '$SIG{PIPE} = "IGNORE"; $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "no way in"; print "connected\n"; print $s "kvmsharp/1 stats 50 1\n"; $s->flush; print substr($_, 0, 12), "\n" while <$s>' $KVMSHARP_RUNTIME/vms/stats-other.sock; }
            ask; ask setpriv --reuid=65534 --regid=65534 --clear-groups
            kill $guest; wait $guest; rm -r $KVMSHARP_RUNTIME
            """);
        ended.Output.Should().Be("connected\n{\"version\":1\nconnected\n", ended.Error);
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

    private static Process Loop(string name)
    {
        var guest = Published.Start("run", Guests.Loop, "--engine", "soft", "--name", name);
        guest.StandardOutput.Read().Should().Be('R');
        return guest;
    }

    /// <summary>The next line of a guest among those of all.</summary>
    private static JsonElement Next(Process watcher, string name, string? without = null)
    {
        while (true)
        {
            var line = JsonDocument.Parse(watcher.StandardOutput.ReadLine()!).RootElement;
            string? told = line.GetProperty("name").GetString();
            told.Should().NotBe(without);
            if (told == name)
                return line;
        }
    }
}
