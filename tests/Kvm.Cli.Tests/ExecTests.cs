using System.Diagnostics;
using System.Text;

namespace Kvm.Cli.Tests;

/// <summary>A guest of the published program with an agent, for all tests of a class.</summary>
public sealed class AgentFixture : IDisposable
{
    private Process? _guest;

    /// <summary>What the guest is called.</summary>
    public static string Name => "exec-tests";

    /// <summary>A folder that is removed at the end.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("kvmsharp-exec").FullName;

    /// <summary>Starts the guest where that has not been done; skips the calling test where it cannot.</summary>
    public void Require()
    {
        Published.Require();
        _guest ??= Start(Name);
    }

    /// <summary>Starts a guest with an agent.</summary>
    public static Process Start(string name)
    {
        string guest = Path.Combine(Published.Root(), "artifacts/guest"), kernel = Path.Combine(guest, "small/vmlinux"), initrd = Path.Combine(guest, "initramfs/initramfs.cpio");
        Skip.IfNot(File.Exists(kernel) && File.Exists(initrd), "needs the small kernel and the initramfs: scripts/guest-kernel");
        return Published.Start("run", kernel, "--initrd", initrd, "--engine", "soft", "--agent", "--name", name, "--console", "none");
    }

    public void Dispose()
    {
        if (_guest is not null)
        {
            Published.Signal(_guest, 15);
            Published.Finish(_guest);
        }

        Directory.Delete(Folder, recursive: true);
    }
}

/// <summary>exec and cp as people type them.</summary>
public sealed class ExecTests(AgentFixture fixture) : IClassFixture<AgentFixture>
{
    [SkippableFact]
    public void A_program_s_streams_and_exit_code_are_this_one_s()
    {
        fixture.Require();

        var ended = Published.RunWith("typed\n", "exec", "-i", "-e", "A=b c", "-w", "/run", AgentFixture.Name, "sh", "-c", "read x; echo \"$x|$A|$PWD\"; echo oops >&2; exit 7");

        ended.ExitCode.Should().Be(7, ended.Error);
        ended.Output.Should().Be("typed|b c|/run\n");
        ended.Error.Should().Be("oops\n");
    }

    [SkippableFact]
    public void With_json_it_is_one_document()
    {
        fixture.Require();

        var ended = Published.Run("exec", "--json", AgentFixture.Name, "sh", "-c", "echo out; echo err >&2; kill -9 $$");

        ended.ExitCode.Should().Be(137);
        ended.Json.GetProperty("exitCode").GetInt32().Should().Be(137);
        ended.Json.GetProperty("signal").GetInt32().Should().Be(9);
        ended.Json.GetProperty("output").GetString().Should().Be("out\n");
        ended.Json.GetProperty("errors").GetString().Should().Be("err\n");
        ended.Json.GetProperty("truncated").GetBoolean().Should().BeFalse();
    }

    [SkippableFact]
    public void What_cannot_be_run_has_the_exit_codes_of_shells_and_an_explanation()
    {
        fixture.Require();

        Published.Run("exec", AgentFixture.Name, "no-such-program").ShouldFail(127, "KVM0483", "no-such-program");
        Published.Run("exec", AgentFixture.Name, "/proc/version").ShouldFail(126, "KVM0483");
        Published.Run("exec", "--timeout", "100ms", AgentFixture.Name, "sleep", "1000").ShouldFail(13, "KVM0488");
    }

    [SkippableFact]
    public void A_signal_is_the_program_s()
    {
        fixture.Require();
        var running = Published.Start("exec", AgentFixture.Name, "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 1; done");
        running.StandardOutput.ReadLine().Should().Be("ready");

        Published.Signal(running, 2);

        var ended = Published.Finish(running);
        ended.ExitCode.Should().Be(5, ended.Error);
        ended.Output.Should().Be("caught\n");
    }

    [SkippableFact]
    public void On_a_terminal_keys_are_the_program_s_and_the_terminal_is_put_back()
    {
        fixture.Require();
        using var terminal = new PseudoTerminal();
        byte[] before = terminal.Modes;
        var running = Published.StartOn(terminal, "exec", "-it", AgentFixture.Name, "sh", "-c", "echo ready; read x; echo got-$x; sleep 1000");
        terminal.WaitFor("ready");
        terminal.WaitUntilRaw();

        terminal.Type("keys\r");
        terminal.WaitFor("got-keys");
        terminal.Type("\x03");

        Published.Finish(running).ExitCode.Should().Be(130, terminal.Shown);
        terminal.Modes.Should().Equal(before);
    }

    [SkippableFact]
    public void A_program_whose_output_nobody_reads_any_more_is_ended()
    {
        fixture.Require();

        var ended = Published.Shell($"\"$KVMSHARP\" exec {AgentFixture.Name} yes | head -n 1; echo ${{PIPESTATUS[0]}}");

        ended.Output.Should().Be("y\n141\n", ended.Error);
    }

    [SkippableFact]
    public void Files_and_folders_are_copied_both_ways()
    {
        fixture.Require();
        string tree = Directory.CreateDirectory(Path.Combine(fixture.Folder, "tree")).FullName, back = Path.Combine(fixture.Folder, "back");
        File.WriteAllText(Path.Combine(tree, "a b"), "content");

        Published.Run("cp", "-r", tree, $"{AgentFixture.Name}:/tmp").ExitCode.Should().Be(0);
        Published.Run("cp", "-r", $"{AgentFixture.Name}:/tmp/tree", back).ExitCode.Should().Be(0);
        Published.Run("cp", $"{AgentFixture.Name}:/tmp/tree/a b", fixture.Folder).ExitCode.Should().Be(0);

        File.ReadAllText(Path.Combine(back, "a b")).Should().Be("content");
        File.ReadAllText(Path.Combine(fixture.Folder, "a b")).Should().Be("content");
        Published.Run("cp", $"{AgentFixture.Name}:/tmp/tree", fixture.Folder).ShouldFail(1, "KVM0484", "/tmp/tree");
        Published.Run("cp", $"{AgentFixture.Name}:/no/such", fixture.Folder).ShouldFail(1, "KVM0484");
        Published.Run("cp", Path.Combine(fixture.Folder, "missing"), $"{AgentFixture.Name}:/tmp").ShouldFail(1, "KVM0485", "missing");
    }

    [SkippableFact]
    public void A_guest_that_is_killed_in_the_middle_is_told_at_once()
    {
        Published.Require();
        var guest = AgentFixture.Start("exec-killed");
        var running = Published.Start("exec", "exec-killed", "sh", "-c", "echo ready; sleep 1000");
        running.StandardOutput.ReadLine().Should().Be("ready");

        Published.Signal(guest, 9);

        Published.Finish(running).ShouldFail(1, "KVM0481");
        Published.Finish(guest);
        Published.Run("exec", "exec-killed", "true").ShouldFail(1, "KVM0480", "exec-killed");
    }

    [SkippableTheory]
    [InlineData("exec", 2, "KVM0002")]
    [InlineData("exec web", 2, "KVM0002")]
    [InlineData("exec -e x web ls", 2, "KVM0003")]
    [InlineData("exec -it --json web ls", 2, "KVM0005")]
    [InlineData("exec ../x ls", 1, "KVM0480")]
    [InlineData("cp a", 2, "KVM0002")]
    [InlineData("cp a b", 2, "KVM0005")]
    [InlineData("cp x:a y:b", 2, "KVM0005")]
    [InlineData("cp x: b", 2, "KVM0003")]
    public void What_makes_no_sense_is_told(string words, int exitCode, string id)
    {
        Published.Require();
        Published.Run(words.Split(' ')).ShouldFail(exitCode, id);
    }

    [SkippableFact]
    public void The_agent_is_a_program_that_a_user_can_put_into_a_guest()
    {
        Published.Require();

        using var process = Published.Start("agent");
        using var bytes = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(bytes);
        process.WaitForExit();

        process.ExitCode.Should().Be(0);
        Encoding.ASCII.GetString(bytes.ToArray(), 1, 3).Should().Be("ELF");
        bytes.Length.Should().BeLessThan(256 << 10);
    }

    [SkippableFact]
    public void The_machine_that_a_dry_run_prints_has_the_agent_and_its_sockets()
    {
        Published.Require();

        var machine = Published.Run("run", Guests.Six, "--agent", "--name", "dry", "--dry-run").Json;

        machine.GetProperty("run").GetProperty("agent").GetBoolean().Should().BeTrue();
        machine.GetProperty("vsock").GetProperty("uds_path").GetString().Should().EndWith("/vms/dry.vsock");
    }
}
