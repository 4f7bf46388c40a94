using System.Diagnostics;

namespace Kvm.Cli.Tests;

/// <summary>The program on a real terminal: raw while the guest runs, as it was before on every way out.</summary>
public sealed class TerminalTests : IDisposable
{
    private readonly PseudoTerminal _terminal = new();
    private readonly byte[] _before;

    public TerminalTests() => _before = _terminal.Modes;

    public void Dispose() => _terminal.Dispose();

    private Process StartRaw(params string[] arguments)
    {
        var process = Published.StartOn(_terminal, ["run", "--engine", "kvm", .. arguments]);
        _terminal.WaitFor("R");
        _terminal.WaitUntilRaw();
        return process;
    }

    private void ShouldEnd(Process process, int exitCode)
    {
        var ended = Published.Finish(process);
        ended.ExitCode.Should().Be(exitCode, $"{_terminal.Shown} {ended.Error}");
        _terminal.Modes.Should().Equal(_before, "the terminal is put back");
    }

    [SkippableFact]
    public void Ctrl_A_x_ends_the_guest()
    {
        Published.RequireKvm();
        var process = StartRaw(Guests.Loop);
        _terminal.Type("\x01x");
        ShouldEnd(process, 0);
    }

    [SkippableFact]
    public void Ctrl_A_x_is_obeyed_within_100_ms()
    {
        Published.RequireKvm();
        var best = Enumerable.Range(0, 5).Min(_ =>
        {
            using var terminal = new PseudoTerminal();
            var process = Published.StartOn(terminal, "run", "--engine", "kvm", Guests.Loop);
            terminal.WaitFor("R");
            terminal.WaitUntilRaw();
            terminal.Type("\x01x");
            return Published.Finish(process).Time;
        });
        best.Should().BeLessThan(TimeSpan.FromMilliseconds(100));
    }

    [SkippableFact]
    public void Every_other_key_belongs_to_the_guest_Ctrl_C_included()
    {
        Published.RequireKvm();
        var process = StartRaw(Guests.Echo);
        _terminal.Type("a\x03\x04\x1a\x1c\r\x01\x01Z");
        _terminal.WaitFor("Ra\x03\x04\x1a\x1c\r\x01Z");
        _terminal.Type("q");
        ShouldEnd(process, 0);
    }

    [SkippableFact]
    public void Ctrl_A_h_shows_the_keys()
    {
        Published.RequireKvm();
        var process = StartRaw(Guests.Loop);
        _terminal.Type("\x01h");
        _terminal.WaitFor("Ctrl-A x ends the guest");
        _terminal.Type("\x01x");
        ShouldEnd(process, 0);
    }

    [SkippableTheory]
    [InlineData(1, 129)]
    [InlineData(2, 130)]
    [InlineData(3, 131)]
    [InlineData(15, 143)]
    public void A_signal_ends_the_guest(int signal, int exitCode)
    {
        Published.RequireKvm();
        var process = StartRaw(Guests.Loop);
        Published.Signal(process, signal);
        ShouldEnd(process, exitCode);
    }

    [SkippableFact]
    public void The_time_limit_ends_the_guest()
    {
        Published.RequireKvm();
        ShouldEnd(StartRaw(Guests.Loop, "--timeout", "2s"), 13);
        _terminal.Shown.Should().Contain("error KVM0303");
    }

    [SkippableFact]
    public void A_guest_that_fails_leaves_the_terminal_as_it_was()
    {
        Published.RequireKvm();
        ShouldEnd(Published.StartOn(_terminal, "run", "--engine", "kvm", Guests.TripleFault), 11);
        _terminal.Shown.Should().NotContain("\x1b", "the program itself sends a terminal nothing but text");
        // Line ends are the terminal's again: each is a carriage return and a line feed.
        _terminal.Shown.Should().Contain("error KVM0301").And.NotMatchRegex("[^\r]\n");
    }

    [SkippableFact]
    public void A_kernel_that_cannot_be_loaded_never_touches_the_terminal()
    {
        Published.RequireKvm();
        ShouldEnd(Published.StartOn(_terminal, "run", "--engine", "kvm", Guests.Bytes("empty", [])), 3);
    }

    [SkippableFact]
    public void Kill_9_of_the_terminal_ends_the_program()
    {
        Published.RequireKvm();
        var report = Guests.Nothing("report");
        var process = StartRaw(Guests.Loop, "--report", report);
        _terminal.Kill();
        Published.Finish(process).ExitCode.Should().Be(129);
        File.ReadAllText(report).Should().Contain("\"signalled\"");
    }

    [SkippableFact]
    public void Kill_9_of_the_terminal_ends_a_guest_that_floods_it()
    {
        Published.RequireKvm();
        var process = Published.StartOn(_terminal, "run", "--engine", "kvm", Guests.Flood);
        _terminal.WaitFor("xxxx");
        _terminal.Kill();
        // Whichever is seen first: the hang-up, its signal, or that nobody takes the output.
        Published.Finish(process).ExitCode.Should().BeOneOf(129, 141);
    }

    [SkippableFact]
    public void What_the_guest_prints_reaches_an_attached_terminal_unchanged()
    {
        Published.RequireKvm();
        ShouldEnd(Published.StartOn(_terminal, "run", "--engine", "kvm", Guests.Escape), 0);
        _terminal.Shown.Should().Contain("\x1b[2Jdone");
    }

    [SkippableFact]
    public void What_the_guest_prints_is_escaped_on_a_terminal_that_is_only_looked_at()
    {
        Published.RequireKvm();
        Published.Shell($"\"$KVMSHARP\" run --engine kvm {Guests.Escape} </dev/null >{_terminal.Path}").ExitCode.Should().Be(0);
        _terminal.WaitFor("\\x1b[2Jdone");
    }

    [SkippableFact]
    public void A_program_in_the_background_of_its_shell_leaves_the_terminal_alone()
    {
        Published.RequireKvm();
        // An interactive shell gives the job a process group of its own, which is not the terminal's foreground.
        var shell = Published.Shell($"setsid -c bash -i -c '\"$KVMSHARP\" run --engine kvm {Guests.Six} & wait $!; echo ended $?' <{_terminal.Path} 2>&1");
        shell.Output.Should().Contain("!").And.Contain("ended 0");
        _terminal.Modes.Should().Equal(_before);
    }

    [SkippableFact]
    public void A_shell_that_continues_a_stopped_program_gets_raw_mode_back()
    {
        Published.RequireKvm();
        var process = StartRaw(Guests.Loop);
        Published.Signal(process, 19); // SIGSTOP
        Published.Shell($"stty sane <{_terminal.Path}").ExitCode.Should().Be(0);
        _terminal.IsRaw.Should().BeFalse();
        Published.Signal(process, 18); // SIGCONT
        _terminal.WaitUntilRaw();
        _terminal.Type("\x01x");
        Published.Finish(process).ExitCode.Should().Be(0);
        _terminal.Modes.Should().Equal(_before);
    }
}
