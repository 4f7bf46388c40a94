using System.Diagnostics;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Linux on the software engine: seconds on every host, with or without /dev/kvm.</summary>
public class SoftEngineBootTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData("small/vmlinux", 64)]
    [InlineData("small/bzImage", 64)]
    [InlineData("stock/bzImage", 512)]
    public void Unmodified_kernel_reaches_user_space_and_powers_off(string kernel, int mebibytes)
    {
        var run = LinuxGuest.Boot(kernel, EngineChoice.Soft, null, s_limit, c => c with { MemoryBytes = (ulong)mebibytes << 20 });
        run.Console.Should().Contain("GUEST-UP 6.1.", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Result.Engine.Should().Be("soft");
        run.Result.Vcpus.Single().Instructions.Should().BeGreaterThan(20_000_000);
        run.Console.Should().NotContain("ACPI Error").And.NotContain("BUG:").And.NotContain("WARNING:");
    }

    [SkippableTheory]
    [InlineData("small/vmlinux", 256, "programs")]
    [InlineData("stock/bzImage", 512, null)]
    public void Kernel_runs_on_a_processor_with_wide_vectors(string kernel, int mebibytes, string? task)
    {
        var run = LinuxGuest.Boot(kernel, EngineChoice.Soft, task, s_limit, c => c with { MemoryBytes = (ulong)mebibytes << 20, Cpu = CpuModel.V3 });
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Console.Should().Contain("GUEST-UP 6.1.", run.Tail).And.NotContain("BUG:").And.NotContain("WARNING:").And.NotContain("GUEST-FAILED");
        if (task != null)
            run.Console.Should().Contain("vectors ok (ymm)", run.Tail);
    }

    [SkippableTheory]
    [InlineData(2)]
    [InlineData(4)]
    public void Every_processor_comes_up(int cpus)
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "machine", s_limit, c => c with { Cpus = cpus });
        run.Console.Should().Contain($"GUEST-CPUS {cpus}", run.Tail);
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Result.Vcpus.Should().OnlyContain(v => v.Instructions > 100_000);
    }

    [SkippableTheory]
    [InlineData(1)]
    [InlineData(2)]
    public void Test_programs_find_nothing_wrong(int cpus)
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "programs", s_limit, c => c with { Cpus = cpus });
        run.Console.Should().Contain("GUEST-DONE programs", run.Tail).And.NotContain("GUEST-FAILED", run.Tail);
    }

    [SkippableFact]
    public void Programs_compute_what_they_compute_on_the_host()
    {
        string script = GuestFiles.RequireSource("tests/guest/run/compute");
        string busybox = GuestFiles.RequireProgram("busybox");
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "compute", s_limit, c => c with { MemoryBytes = 256 << 20 });
        var guest = run.Console.Split('\n').Select(l => l.TrimEnd('\r')).ToList();
        foreach (string line in OnHost(busybox, script))
            guest.Should().Contain(line, run.Tail);
        run.Console.Should().Contain("GUEST-DONE compute", run.Tail);
    }

    [SkippableTheory]
    [InlineData("panic", VmOutcome.Panic, 10)]
    [InlineData("reboot", VmOutcome.Reboot, 0)]
    [InlineData("halt", VmOutcome.Halted, 14)]
    [InlineData("sysrq-c", VmOutcome.Panic, 10)]
    [InlineData("debug-exit", VmOutcome.DebugExit, 23)]
    public void Linux_ends_each_way(string task, VmOutcome outcome, int exitCode)
    {
        // A guest that can never wake is noticed; one whose kernel panics resets at once because of panic=-1.
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, task, s_limit, c => c with { MemoryBytes = 64 << 20 });
        run.Result.Outcome.Should().Be(outcome, run.Tail);
        run.Result.ExitCode.Should().Be(exitCode);
    }

    [SkippableFact]
    public void Kernel_without_a_root_panics_and_is_not_reported_as_success()
    {
        string kernel = GuestFiles.Require("small/vmlinux");
        var config = new VmConfig { KernelPath = kernel, Engine = EngineChoice.Soft, Append = "root=/dev/nothing", Timeout = s_limit, MemoryBytes = 64 << 20 };
        using var vm = VirtualMachine.Build(config, new VmHost());
        vm.Start();
        var result = vm.Ended.GetAwaiter().GetResult();
        result.Outcome.Should().Be(VmOutcome.Panic);
        result.ExitCode.Should().Be(10);
    }

    /// <summary>The same commands by the same program, each run in an own folder that is removed again.</summary>
    private static List<string> OnHost(string busybox, string script)
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-compute").FullName;
        try
        {
            string commands = File.ReadAllText(script).Replace("/tmp/", folder + "/", StringComparison.Ordinal);
            using var process = Process.Start(new ProcessStartInfo("/bin/sh")
            {
                ArgumentList = { "-c", $"mkdir {folder}/bin && {busybox} --install -s {folder}/bin && PATH={folder}/bin {busybox} sh -s" },
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            })!;
            process.StandardInput.Write(commands);
            process.StandardInput.Close();
            var lines = process.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).ToList();
            process.WaitForExit();
            lines.Should().NotBeEmpty();
            return lines;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
