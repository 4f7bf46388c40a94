namespace Kvm.Cli.Tests;

/// <summary>What people type wrong, and what they are told.</summary>
public class UsageTests
{
    [SkippableTheory]
    [InlineData("run --memry 1G vmlinuz", "KVM0001", "unknown option '--memry'; did you mean --memory?")]
    [InlineData("run vmlinuz --engine=kvm --xyzzyx", "KVM0001", "unknown option '--xyzzyx'")]
    [InlineData("rnu vmlinuz", "KVM0001", "unknown verb 'rnu'; did you mean run?")]
    [InlineData("frobnicate", "KVM0001", "unknown verb 'frobnicate'")]
    [InlineData("run vmlinuz initrd", "KVM0001", "run does not take 'initrd' here")]
    [InlineData("run --json=1 vmlinuz", "KVM0001", "--json takes no value")]
    [InlineData("run --dry-run=yes vmlinuz", "KVM0001", "--dry-run takes no value")]
    [InlineData("run vmlinuz --netz user", "KVM0001", "unknown option '--netz'; did you mean --net?")]
    [InlineData("run @vmlinuz @args", "KVM0001", "run does not take '@args' here")]
    [InlineData("run vmlinuz --memory", "KVM0002", "--memory")]
    [InlineData("run vmlinuz --memory 1G --memory 2G", "KVM0002", "--memory")]
    [InlineData("completion", "KVM0002", "bash, zsh, fish")]
    [InlineData("completion tcsh", "KVM0003", "'tcsh' is not one of bash, zsh, fish")]
    [InlineData("run vmlinuz --memory big", "KVM0003", "--memory: 'big' is not a size")]
    [InlineData("run vmlinuz --memory -1", "KVM0003", "--memory: '-1' is not a size")]
    [InlineData("run vmlinuz --cpus two", "KVM0003", "--cpus: 'two' is not a whole number")]
    [InlineData("run vmlinuz --cpus 99999999999", "KVM0003", "--cpus")]
    [InlineData("run vmlinuz --timeout 5", "KVM0003", "--timeout: '5' is not a duration")]
    [InlineData("run vmlinuz --engine qemu", "KVM0003", "--engine: 'qemu' is not one of auto, kvm, soft")]
    [InlineData("run vmlinuz --console tty", "KVM0003", "--console")]
    [InlineData("run vmlinuz --console file=", "KVM0003", "--console")]
    [InlineData("run vmlinuz --console virtio,tty", "KVM0003", "--console: 'virtio,tty' is not one of")]
    [InlineData("run vmlinuz --port name=a", "KVM0003", "--port: 'name=a' names no socket")]
    [InlineData("run vmlinuz --port name=a/b,socket=/s", "KVM0003", "has the name 'a/b'")]
    [InlineData("run vmlinuz --net usr", "KVM0003", "--net: 'usr' begins with 'usr'")]
    [InlineData("run vmlinuz --net tap=t,mac=1", "KVM0003", "has the part 'mac=1'")]
    [InlineData("run vmlinuz --publish 80", "KVM0003", "--publish: '80' is not [ADDRESS:]HOST:GUEST")]
    [InlineData("run vmlinuz --gdb host:1", "KVM0003", "--gdb: 'host:1' is neither a port")]
    [InlineData("run vmlinuz --gdb 1234,later", "KVM0003", "where only nowait and i386 can be")]
    [InlineData("run vmlinuz --disk d,queues=17", "KVM0003", "has 17 queues; a disk has 1 to 16")]
    [InlineData("run vmlinuz --balloon-stats 5", "KVM0003", "--balloon-stats: '5' is not a duration")]
    [InlineData("run vmlinuz --balloon-stats 1500ms", "KVM0003", "--balloon-stats: '1500ms' is not 1 to 65535 whole seconds")]
    [InlineData("run vmlinuz --balloon-stats 0s", "KVM0003", "is not 1 to 65535 whole seconds")]
    [InlineData("run vmlinuz --balloon-stats 20h", "KVM0003", "is not 1 to 65535 whole seconds")]
    [InlineData("run vmlinuz --virtio isa", "KVM0003", "--virtio: 'isa' is not one of pci, mmio, transitional")]
    [InlineData("run", "KVM0004", "run needs a KERNEL")]
    [InlineData("run --memory 1G", "KVM0004", "run needs a KERNEL")]
    [InlineData("run vmlinuz --cmdline a --append b", "KVM0005", "--cmdline")]
    [InlineData("run vmlinuz --memory 0", "KVM0006", "0 bytes of memory")]
    [InlineData("run vmlinuz --memory 1M", "KVM0006", "the least is 2M")]
    [InlineData("run vmlinuz --memory 1T", "KVM0006", "the most is 512G")]
    [InlineData("run vmlinuz --memory 16777215T", "KVM0006", "the most is 512G")]
    [InlineData("run vmlinuz --memory 3000001", "KVM0006", "multiple of 1M")]
    [InlineData("run vmlinuz --memory 2049K", "KVM0006", "multiple of 1M")]
    [InlineData("run vmlinuz --cpus 0", "KVM0006", "1 to 254")]
    [InlineData("run vmlinuz --cpus 10000", "KVM0006", "1 to 254")]
    [InlineData("run vmlinuz --cpus -1", "KVM0006", "1 to 254")]
    [InlineData("run vmlinuz --timeout 0s", "KVM0006", "timeout")]
    [InlineData("run vmlinuz --publish 80:80 --publish 80:81", "KVM0006", "port 80 is published twice")]
    [InlineData("run vmlinuz --net --deterministic", "KVM0006", "a deterministic run has no network")]
    [InlineData("run vmlinuz --port name=a,socket=/s --port name=a,socket=/t", "KVM0006", "ports 0 and 1 have the same name")]
    [InlineData("run vmlinuz --deterministic --port name=a,socket=/s", "KVM0006", "would not repeat")]
    public void A_mistake_is_named_with_what_to_type_next(string line, string id, string part)
    {
        Published.Require();
        var ended = Published.Run(line.Split(' ')).ShouldFail(2, id, part);
        ended.Output.Should().BeEmpty();
    }

    [SkippableFact]
    public void An_empty_text_to_wait_for_is_refused()
    {
        Published.Require();
        Published.Run("run", "vmlinuz", "--ready-match", "").ShouldFail(2, "KVM0006", "1 to 1,024 characters");
    }

    [SkippableFact]
    public void Without_a_verb_the_overview_goes_to_standard_error()
    {
        Published.Require();
        var ended = Published.Run();
        ended.ExitCode.Should().Be(2);
        ended.Output.Should().BeEmpty();
        ended.Error.Should().Contain("kvmsharp VERB [options]");
    }

    [SkippableFact]
    public void Control_characters_of_the_command_line_do_not_reach_the_terminal()
    {
        Published.Require();
        Published.Run("run", "--\x1b[31m\nx", "k").ShouldFail(2, "KVM0001", "\\x1b[31m\\x0ax").Error.Should().NotContain("\x1b");
    }

    [SkippableFact]
    public void With_verbose_an_error_tells_where_it_was_noticed()
    {
        Published.Require();
        var ended = Published.Run("run", "vmlinuz", "--memory", "0", "--verbose");
        ended.ExitCode.Should().Be(2);
        ended.Error.Should().Contain("   at Kvm.");
    }

    [SkippableFact]
    public void After_two_dashes_a_word_is_a_kernel()
    {
        Published.Require();
        var ended = Published.Run("run", "--dry-run", "--", "--memory");
        ended.ExitCode.Should().Be(0);
        ended.Json.GetProperty("boot-source").GetProperty("kernel_image_path").GetString().Should().EndWith("/--memory");
    }

    [SkippableFact]
    public void Version_names_the_runtime()
    {
        Published.Require();
        var ended = Published.Run("--version");
        ended.ExitCode.Should().Be(0);
        ended.Output.Should().MatchRegex(@"^kvmsharp [0-9]+\.[0-9]+\.[0-9]+ \(\.NET [0-9.]+, compiled ahead of time, linux-x64\)\n$");
        var json = Published.Run("--version", "--json").Json;
        json.GetProperty("runtime").GetString().Should().StartWith(".NET ");
        json.GetProperty("aheadOfTime").GetBoolean().Should().BeTrue();
    }

    [SkippableFact]
    public void A_closed_standard_output_is_no_crash_and_a_full_disk_is_an_error()
    {
        Published.Require();
        Published.Shell("\"$KVMSHARP\" --help >&-; echo $?").Output.Should().Be("0\n");
        Published.Shell("\"$KVMSHARP\" --help 2>&1 | true; echo ${PIPESTATUS[0]}").Output.Should().Be("0\n");
        Published.Shell("\"$KVMSHARP\" --help >/dev/full").ShouldFail(1, "KVM0007", "standard output");
    }
}
