using System.Text.Json;

namespace Kvm.Cli.Tests;

/// <summary>How a guest ends, as the caller of the program sees it: exit code, words, report.</summary>
public class OutcomeTests
{
    private static readonly string[] s_members =
        ["outcome", "exitCode", "engine", "hostBackend", "timings", "exits", "completions", "vcpus", "memory", "devices"];

    [SkippableFact]
    public void A_guest_of_six_instructions_prints_and_ends_with_a_whole_report()
    {
        Published.RequireKvm();
        var report = Guests.Nothing("report");
        var ended = Published.Run("run", Guests.Six, "--engine", "kvm", "--report", report, "--name", "six");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Be("!");
        var json = JsonDocument.Parse(File.ReadAllText(report)).RootElement;
        json.EnumerateObject().Select(m => m.Name).Should().Contain(s_members);
        json.GetProperty("outcome").GetString().Should().Be("debug-exit");
        json.GetProperty("engine").GetString().Should().Be("kvm");
        json.GetProperty("hostBackend").GetString().Should().BeOneOf("vmx", "svm", "pvm", "unknown");
        json.GetProperty("name").GetString().Should().Be("six");
        json.GetProperty("exits").GetProperty("io").GetInt64().Should().Be(2);
        json.GetProperty("console").GetProperty("writtenBytes").GetInt64().Should().Be(1);
        var first = json.GetProperty("timings").GetProperty("firstRunMs").GetDouble();
        var total = json.GetProperty("timings").GetProperty("totalMs").GetDouble();
        first.Should().BePositive().And.BeLessThan(total);
        total.Should().BeLessThanOrEqualTo(ended.Time.TotalMilliseconds + 1000);
        json.GetProperty("memory").GetProperty("vmmRssBytes").GetInt64().Should().BeInRange(1 << 20, 20 << 20);
    }

    [SkippableFact]
    public void With_json_the_report_is_the_one_document_on_standard_output()
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.Six, "--engine", "kvm", "--json");
        ended.Json.GetProperty("outcome").GetString().Should().Be("debug-exit");
        ended.Error.Should().Be("!");
    }

    [SkippableTheory]
    [InlineData(0, 0)]
    [InlineData(1, 21)]
    [InlineData(100, 120)]
    [InlineData(70_000, 120)]
    public void What_the_guest_writes_to_the_debug_exit_port_is_the_exit_code(uint value, int exitCode)
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.DebugExit(value), "--engine", "kvm", "--json");
        ended.ExitCode.Should().Be(exitCode);
        ended.Json.GetProperty("exitCode").GetInt32().Should().Be(exitCode);
        ended.Json.GetProperty("debugExitValue").GetInt64().Should().Be(value);
        ended.Error.Should().BeEmpty();
    }

    [SkippableFact]
    public void A_triple_fault_is_11()
    {
        Published.RequireKvm();
        Published.Run("run", Guests.TripleFault, "--engine", "kvm").ShouldFail(11, "KVM0301");
    }

    [SkippableFact]
    public void Halted_for_ever_is_14_and_noticed_within_a_second_or_so()
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.Halt, "--engine", "kvm").ShouldFail(14, "KVM0304");
        ended.Time.Should().BeLessThan(TimeSpan.FromSeconds(10));
    }

    [SkippableFact]
    public void A_panic_that_only_the_console_told_is_10_and_never_0()
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.Panic, "--engine", "kvm");
        ended.ExitCode.Should().Be(10);
        ended.Output.Should().StartWith("Kernel panic - not syncing: test");
        ended.Error.Should().StartWith("error KVM0300");
    }

    [SkippableFact]
    public void A_guest_that_only_loops_ends_at_its_time_limit_with_13()
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.Loop, "--engine", "kvm", "--timeout", "300ms", "--json");
        ended.ExitCode.Should().Be(13);
        ended.Json.GetProperty("outcome").GetString().Should().Be("timeout");
        ended.Json.GetProperty("timings").GetProperty("totalMs").GetDouble().Should().BeGreaterThan(300);
    }

    [SkippableFact]
    public void The_time_limit_holds_for_a_guest_whose_console_nobody_reads()
    {
        Published.RequireKvm();
        // The pipe is full after 64 KiB: the vCPU then waits for the console.
        var ended = Published.Shell($"\"$KVMSHARP\" run {Guests.Flood} --engine kvm --timeout 1s --json 2> >(sleep 3) >/dev/stdout; echo $?");
        ended.Output.Should().EndWith("13\n");
        ended.Time.Should().BeLessThan(TimeSpan.FromSeconds(20));
    }

    [SkippableFact]
    public void A_console_whose_reader_is_gone_ends_the_run_with_141()
    {
        Published.RequireKvm();
        var ended = Published.Shell($"\"$KVMSHARP\" run {Guests.Flood} --engine kvm --timeout 20s | head -c 3; echo \" ${{PIPESTATUS[0]}}\"");
        ended.Output.Should().Be("xxx 141\n");
    }

    [SkippableFact]
    public void The_console_in_a_file_or_nowhere_leaves_standard_output_empty()
    {
        Published.RequireKvm();
        var console = Guests.Nothing("console");
        var ended = Published.Run("run", Guests.Six, "--engine", "kvm", "--console", $"file={console}");
        (ended.ExitCode, ended.Output).Should().Be((0, ""));
        File.ReadAllText(console).Should().Be("!");
        Published.Run("run", Guests.Six, "--engine", "kvm", "--console", "none").Output.Should().BeEmpty();
    }

    [SkippableFact]
    public void Standard_input_is_typed_to_the_guest()
    {
        Published.RequireKvm();
        var ended = Published.RunWith("hello\x01xq", "run", Guests.Echo, "--engine", "kvm", "--timeout", "20s");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Be("Rhello\x01x");
    }

    [SkippableFact]
    public void Guest_text_goes_to_a_pipe_as_it_is()
    {
        Published.RequireKvm();
        Published.Run("run", Guests.Escape, "--engine", "kvm").Output.Should().Be("\x1b[2Jdone");
    }

    [SkippableFact]
    public void The_time_of_the_awaited_text_is_reported()
    {
        Published.RequireKvm();
        var report = Published.Run("run", Guests.Escape, "--engine", "kvm", "--ready-match", "done", "--json").Json;
        var timings = report.GetProperty("timings");
        timings.GetProperty("readyCpuMs").GetDouble().Should().BeInRange(0, report.GetProperty("vcpus")[0].GetProperty("runMs").GetDouble());
        timings.GetProperty("readyMs").GetDouble().Should().BeGreaterThanOrEqualTo(timings.GetProperty("firstRunMs").GetDouble());
        Published.Run("run", Guests.Escape, "--engine", "kvm", "--ready-match", "never", "--json").Json
            .GetProperty("timings").GetProperty("readyMs").ValueKind.Should().Be(JsonValueKind.Null);
    }

    [SkippableTheory]
    [InlineData(2, 130)]
    [InlineData(15, 143)]
    [InlineData(1, 129)]
    [InlineData(3, 131)]
    public void A_signal_ends_the_run_and_the_report_is_written(int signal, int exitCode)
    {
        Published.RequireKvm();
        var report = Guests.Nothing("report");
        var process = Published.Start("run", Guests.Loop, "--engine", "kvm", "--report", report);
        process.StandardOutput.Read().Should().Be('R');
        Published.Signal(process, signal);
        var ended = Published.Finish(process);
        ended.ExitCode.Should().Be(exitCode, ended.Error);
        var json = JsonDocument.Parse(File.ReadAllText(report)).RootElement;
        json.GetProperty("outcome").GetString().Should().Be("signalled");
        json.GetProperty("signal").GetInt32().Should().Be(signal);
        json.GetProperty("exitCode").GetInt32().Should().Be(exitCode);
    }

    [SkippableFact]
    public void A_signal_is_obeyed_within_100_ms()
    {
        Published.RequireKvm();
        // The best of a few: the host may be busy with something else.
        var best = Enumerable.Range(0, 5).Min(_ =>
        {
            var process = Published.Start("run", Guests.Loop, "--engine", "kvm");
            process.StandardOutput.Read().Should().Be('R');
            Published.Signal(process, 15);
            return Published.Finish(process).Time;
        });
        best.Should().BeLessThan(TimeSpan.FromMilliseconds(100));
    }

    [SkippableFact]
    public void A_hang_up_ignored_from_the_start_stays_ignored()
    {
        Published.RequireKvm();
        var ended = Published.Shell($"""
            trap '' HUP
            "$KVMSHARP" run {Guests.Loop} --engine kvm --timeout 2s >/dev/null 2>&1 &
            sleep 0.5; kill -HUP $!; wait $!; echo $?
            """);
        ended.Output.Should().Be("13\n");
    }
}
