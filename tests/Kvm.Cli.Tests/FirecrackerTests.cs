using Kvm.Boot.Tests;

namespace Kvm.Cli.Tests;

/// <summary>The program under Firecracker's name and command line.</summary>
public sealed class FirecrackerTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-firecracker-").FullName;

    public FirecrackerTests() => Published.Require();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [SkippableFact]
    public void The_getting_started_sequence_boots_the_small_kernel_by_requests_and_by_its_configuration_file()
    {
        GuestFiles.RequireProgram("curl");
        string kernel = GuestFiles.Require("small/vmlinux");
        using var disk = new Ext4Disk(root: true);
        var ended = Published.Shell($"ENGINE=soft {Path.Combine(Published.Root(), "docs", "examples", "firecracker.sh")} {kernel} {disk.FilePath}");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().ContainAll("PUT /logger: 204", "PUT /boot-source: 204", "PUT /drives/rootfs: 204", "PUT /machine-config: 204", "PUT /actions: 204", "\"state\":\"Running\"",
            "== both ended well");
        ended.Output.Split("GUEST-UP").Should().HaveCount(3, "the guest was up twice");
        ended.Output.Should().Contain("INFO:api_server] PUT /actions");
    }

    [SkippableFact]
    public void Under_the_name_firecracker_the_program_tells_the_version_of_its_API()
    {
        string link = Path.Combine(_folder, "firecracker");
        File.CreateSymbolicLink(link, Published.Executable);
        var ended = Published.Shell($"{link} --version");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().StartWith("Firecracker v1.17.0\n\nkvmsharp ");
        Published.Shell($"{link} --snapshot-version").Output.Should().Be("v1.0.0\n");
    }

    [SkippableTheory]
    [InlineData("--no-api", 2, "KVM0002", "--config-file")]
    [InlineData("--boot-timer", 3, "KVM0721", "--ready-match")]
    [InlineData("--seccomp-filter x", 3, "KVM0721", "filters of one's own")]
    [InlineData("--id a_b", 2, "KVM0003", "letters, digits and dashes")]
    [InlineData("--http-api-max-payload-size 9999999", 2, "KVM0003", "1048576")]
    [InlineData("--no-api --config-file /nowhere.json", 3, "KVM0020", "/nowhere.json")]
    [InlineData("--describe-snapshot /dev/null", 3, "KVM0723", "/dev/null")]
    [InlineData("--api-sock /nowhere/s.sock", 1, "KVM0705", "ENOENT")]
    [InlineData("--level loud --api-sock s", 3, "KVM0720", "not one of Off")]
    [InlineData("--api-socks x", 2, "KVM0001", "did you mean --api-sock?")]
    public void A_command_line_that_cannot_be_is_an_error_that_says_why(string line, int exitCode, string id, string says) =>
        Published.Run(["firecracker", .. line.Split(' ')]).ShouldFail(exitCode, id, says);

    [SkippableFact]
    public void A_configuration_file_runs_its_kernel_and_gives_its_exit_code()
    {
        string file = Path.Combine(_folder, "vm.json");
        File.WriteAllText(file, $$"""{"boot-source": {"kernel_image_path": "{{Guests.DebugExit(5)}}"}, "machine-config": {"vcpu_count": 1, "mem_size_mib": 16} }""");
        var ended = Published.Run("firecracker", "--no-api", "--config-file", file, "--engine", "soft");
        ended.ExitCode.Should().Be(25, ended.Error);
    }

    [SkippableFact]
    public void A_signal_ends_a_program_that_waits_and_its_socket_with_it()
    {
        string socket = Path.Combine(_folder, "s.sock"), log = Path.Combine(_folder, "log");
        // A line of the log says that the program is there, the socket that it listens.
        var ended = Published.Shell($"mkfifo {log}; \"$KVMSHARP\" firecracker --api-sock {socket} --log-path {log} & read -r line <{log}; until [ -S {socket} ]; do kill -0 $! || exit 9; done; kill $!; wait $!");
        ended.ExitCode.Should().Be(143, ended.Error);
        File.Exists(socket).Should().BeFalse();
    }
}
