using System.Text;
using System.Text.Json;

namespace Kvm.Cli.Tests;

public class LabTests
{
    /// <summary>Lab 1 on a terminal, behind its first step: keys are read when signals are taken already.</summary>
    private static System.Diagnostics.Process Step(PseudoTerminal terminal)
    {
        var process = Published.StartOn(terminal, "lab", "step", "1", "--engine", "soft");
        terminal.WaitFor("step 0");
        terminal.WaitUntilRaw();
        terminal.Type("s");
        terminal.WaitFor("step 1");
        return process;
    }

    private static string Source(string text) => Guests.Bytes("lab.asm", Encoding.UTF8.GetBytes(text));

    [SkippableFact]
    public void The_list_shows_fourteen_labs()
    {
        Published.Require();
        var ended = Published.Run("lab", "list");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Contain("  1  first-exit").And.Contain(" 14  toy-manager");
        Published.Run("lab", "list", "--json").Json.GetProperty("labs").GetArrayLength().Should().Be(14);
    }

    [SkippableFact]
    public void A_text_is_part_of_the_executable()
    {
        Published.Require();
        Published.Run("lab", "show", "virtqueue").Output.Should().StartWith("# Lab 10: a virtqueue by hand").And.Contain("QueueNotify");
        Published.Run("lab", "show", "1", "--json").Json.GetProperty("source").GetString().Should().Contain("Your turn");
    }

    [SkippableFact]
    public void All_solutions_pass_on_the_software_engine_in_less_than_five_seconds_each()
    {
        Published.Require();
        var ended = Published.Run("lab", "check", "--all", "--engine", "soft", "--json");
        ended.ExitCode.Should().Be(0, ended.Output + ended.Error);
        foreach (var lab in ended.Json.GetProperty("labs").EnumerateArray())
        {
            lab.GetProperty("passed").GetBoolean().Should().BeTrue();
            lab.GetProperty("elapsedMs").GetDouble().Should().BeLessThan(5000);
        }
    }

    [SkippableFact]
    public void All_solutions_pass_on_KVM()
    {
        Published.RequireKvm();
        var ended = Published.Run("lab", "check", "--all", "--engine", "kvm");
        ended.ExitCode.Should().Be(0, ended.Output + ended.Error);
        ended.Output.TrimEnd().Split('\n').Should().HaveCount(14).And.OnlyContain(line => line.Contains("solved:"));
    }

    [SkippableFact]
    public void A_source_as_handed_out_is_not_solved()
    {
        Published.Require();
        var ended = Published.Run("lab", "check", "1", "--engine", "soft");
        ended.ExitCode.Should().Be(1);
        ended.Output.Should().Contain("it shows 'H'").And.Contain("not solved yet");
    }

    [SkippableFact]
    public void A_run_tells_its_exits_with_their_lines()
    {
        Published.Require();
        var ended = Published.Run("lab", "run", "1", "--engine", "soft", "--source", Source("mov dx, 0x3f8\nmov al, 27\nout dx, al\nmov al, 0\nout 0xf4, al\n"));
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().MatchRegex(@" 1 +0 +3  KVM_EXIT_IO +out 0x3f8, 0x1b").And.Contain("the program ended with 0").And.Contain("\\x1b").And.NotContain("\x1b");
    }

    [SkippableFact]
    public void A_program_that_never_ends_ends_with_exit_code_13()
    {
        Published.Require();
        var ended = Published.Run("lab", "run", "1", "--engine", "soft", "--timeout", "200ms", "--source", Source("again: jmp again"));
        ended.ExitCode.Should().Be(13, ended.Error);
        ended.Output.Should().Contain("had not ended when the time was up");
    }

    [SkippableTheory]
    [InlineData(2)]
    [InlineData(15)]
    public void A_signal_ends_a_program_that_never_ends(int signal)
    {
        Published.Require();
        var fifo = Guests.Nothing("lab-fifo");
        Published.Shell($"mkfifo '{fifo}'").ExitCode.Should().Be(0);
        var process = Published.Start("lab", "run", "1", "--engine", "soft", "--timeout", "10m", "--source", fifo);
        // Opening a pipe waits for who reads it, and the verb takes signals before it reads.
        using (var source = new FileStream(fifo, FileMode.Open, FileAccess.Write))
            source.Write("again: jmp again"u8);
        Published.Signal(process, signal);
        Published.Finish(process).ExitCode.Should().Be(128 + signal);
    }

    [SkippableFact]
    public void A_step_is_a_line_and_with_json_an_object()
    {
        Published.Require();
        Published.Run("lab", "step", "1", "--engine", "soft").Output.Should().MatchRegex(@"     2  0x7c05  line 10 +out dx,al\n +KVM_EXIT_IO: out 0x3f8").And.Contain("the program halted");
        var lines = Published.Run("lab", "step", "1", "--engine", "soft", "--json").Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement).ToList();
        lines.Should().HaveCountGreaterThan(3);
        lines[1].GetProperty("registers").GetProperty("rdx").GetString().Should().Be("0x3f8");
        lines[^1].GetProperty("end").GetString().Should().StartWith("halted");
    }

    [SkippableFact]
    public void A_terminal_shows_code_registers_exit_and_memory_side_by_side_and_takes_keys()
    {
        Published.Require();
        using var terminal = new PseudoTerminal();
        var before = terminal.Modes;
        var process = Step(terminal);
        terminal.Shown.Should().Contain("registers").And.Contain("memory").And.Contain("mov dx, 0x3f8");
        terminal.Type("c");
        terminal.WaitFor("KVM_EXIT_IO");
        terminal.WaitFor("step 3");
        terminal.Type("b");
        terminal.WaitFor("step 2");
        terminal.Type("q");
        Published.Finish(process).ExitCode.Should().Be(0);
        terminal.Modes.Should().Equal(before, "the terminal is put back");
    }

    [SkippableFact]
    public void A_terminal_is_put_back_when_a_signal_ends_the_view()
    {
        Published.Require();
        using var terminal = new PseudoTerminal();
        var before = terminal.Modes;
        var process = Step(terminal);
        Published.Signal(process, 15);
        Published.Finish(process).ExitCode.Should().Be(143);
        terminal.Modes.Should().Equal(before);
    }

    [SkippableFact]
    public void A_new_source_is_written_once()
    {
        Published.Require();
        var folder = Directory.CreateTempSubdirectory("kvmsharp-lab-");
        try
        {
            Published.Run("lab", "new", "2", folder.FullName).ExitCode.Should().Be(0);
            var file = Path.Combine(folder.FullName, "02-run-structure.asm");
            File.ReadAllText(file).Should().Contain("Your turn");
            Published.Run("lab", "new", "2", folder.FullName).ShouldFail(1, "KVM0007", "it is there already");
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [SkippableFact]
    public void Mistakes_are_told_with_their_place()
    {
        Published.Require();
        Published.Run("lab", "run", "1", "--source", Source("nop\n  mvo ax, 1")).ShouldFail(3, "KVM0041", ":2:3: ", "did you mean 'mov'?");
        Published.Run("lab", "run", "1", "--source", "/nonexistent").ShouldFail(3, "KVM0044");
        Published.Run("lab", "run", "1", "--source", "/dev/zero").ShouldFail(3, "KVM0044", "larger than 1 MiB");
        Published.Run("lab", "run", "15").ShouldFail(2, "KVM0040");
        Published.Run("lab", "rnu").ShouldFail(2, "KVM0001", "did you mean run?");
        Published.Run("lab", "run").ShouldFail(2, "KVM0002");
        Published.Run("lab").ShouldFail(2, "KVM0002");
        Published.Run("lab", "run", "1", "--engine", "vax").ShouldFail(2, "KVM0003");
        Published.Run("lab", "run", "1", "--assembler", "masm").ShouldFail(2, "KVM0003");
        Published.Run("lab", "run", "1", "--timeout", "0s").ShouldFail(2, "KVM0003");
        Published.Run("lab", "run", "1", "--all").ShouldFail(2, "KVM0005");
        Published.Run("lab", "check", "1", "--all").ShouldFail(2, "KVM0005");
        Published.Run("lab", "step", "13").ShouldFail(2, "KVM0042");
    }
}
