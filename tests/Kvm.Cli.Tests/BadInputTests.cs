using System.Buffers.Binary;
using System.Text.Json;
using Kvm.Boot.Tests;

namespace Kvm.Cli.Tests;

/// <summary>Input files that are wrong, and hosts that cannot: one explained error, its exit code, nothing left behind.</summary>
public class BadInputTests
{
    private static byte[] Kernel() => TinyKernel.Assemble(a => a.DebugExit(0));

    private static byte[] BzImage(Action<byte[]> change)
    {
        var image = new byte[8192];
        image[0x1f1] = 1; // setup_sects
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x1fe), 0xaa55);
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x206), 0x20f);
        image[0x211] = 1; // LOADED_HIGH
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(0x238), 2047); // cmdline_size
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(0x248), 0); // payload_offset
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(0x24c), 1024); // payload_length
        change(image);
        return image;
    }

    public static TheoryData<string, byte[]> Files => new()
    {
        { "empty", [] },
        { "one-byte", [0x7f] },
        { "text", "#!/bin/sh\necho hello\n"u8.ToArray() },
        { "zeros", new byte[1 << 20] },
        { "elf-header-only", Kernel()[..64] },
        { "elf-cut-in-program-headers", Kernel()[..100] },
        { "elf-cut-in-segment", Kernel()[..^1] },
        { "elf-65535-program-headers", Changed(b => BinaryPrimitives.WriteUInt16LittleEndian(b.AsSpan(56), 65535)) },
        { "elf-for-arm", Changed(b => BinaryPrimitives.WriteUInt16LittleEndian(b.AsSpan(18), 183)) },
        { "elf-filesz-over-memsz", Changed(b => BinaryPrimitives.WriteUInt64LittleEndian(b.AsSpan(64 + 40), 1)) },
        { "elf-segment-at-the-end-of-addresses", Changed(b => BinaryPrimitives.WriteUInt64LittleEndian(b.AsSpan(64 + 24), ulong.MaxValue - 3)) },
        { "elf-segment-over-memory", Changed(b => BinaryPrimitives.WriteUInt64LittleEndian(b.AsSpan(64 + 40), 1UL << 40)) },
        { "elf-endless-notes", Changed(b => BinaryPrimitives.WriteUInt32LittleEndian(b.AsSpan(64 + 112), uint.MaxValue)) },
        { "bz-setup-sects-255", BzImage(b => b[0x1f1] = 255) },
        { "bz-payload-outside", BzImage(b => BinaryPrimitives.WriteUInt32LittleEndian(b.AsSpan(0x248), 0xffff_fff0)) },
        { "bz-payload-too-long", BzImage(b => BinaryPrimitives.WriteUInt32LittleEndian(b.AsSpan(0x24c), uint.MaxValue)) },
        { "bz-init-size", BzImage(b => BinaryPrimitives.WriteUInt32LittleEndian(b.AsSpan(0x260), uint.MaxValue)) },
        { "bz-wrong-magic", BzImage(b => b[0x202] = 0) },
    };

    private static byte[] Changed(Action<byte[]> change)
    {
        var kernel = Kernel();
        change(kernel);
        return kernel;
    }

    [SkippableTheory]
    [MemberData(nameof(Files))]
    public void A_wrong_kernel_file_is_3_and_named(string name, byte[] file)
    {
        Published.RequireKvm();
        var path = Guests.Bytes($"bad-{name}", file);
        var ended = Published.Run("run", path, "--engine", "kvm", "--timeout", "5s");
        ended.ExitCode.Should().Be(3, ended.Error);
        ended.ShouldFail(3, ended.Error[6..13]);
        ended.Error.Should().Contain(path);
        ended.Output.Should().BeEmpty();
    }

    [SkippableTheory]
    [InlineData("missing")]
    [InlineData("folder")]
    [InlineData("nul")]
    public void A_kernel_that_cannot_be_read_is_3(string what)
    {
        Published.RequireKvm();
        var path = what switch
        {
            "missing" => Guests.Nothing("kernel"),
            "folder" => Path.GetTempPath(),
            _ => "/dev/null",
        };
        Published.Run("run", path, "--engine", "kvm").ExitCode.Should().Be(3);
    }

    [SkippableFact]
    public void An_initrd_larger_than_memory_is_3()
    {
        Published.RequireKvm();
        var initrd = Guests.Bytes("initrd", new byte[3 << 20]);
        Published.Run("run", Guests.Six, "--engine", "kvm", "--initrd", initrd, "--memory", "2M").ShouldFail(3, "KVM0113");
    }

    [SkippableFact]
    public void A_command_line_of_100_kB_is_3()
    {
        Published.RequireKvm();
        Published.Run("run", Guests.Six, "--engine", "kvm", "--append", new string('x', 100_000)).ShouldFail(3, "KVM0114").Error.Length.Should().BeLessThan(1000);
    }

    [SkippableFact]
    public void An_error_before_the_guest_ran_is_in_the_report_too()
    {
        Published.RequireKvm();
        var report = Guests.Nothing("report");
        var ended = Published.Run("run", Guests.Bytes("empty", []), "--engine", "kvm", "--report", report, "--json");
        ended.ExitCode.Should().Be(3);
        ended.Output.Should().Be(File.ReadAllText(report));
        ended.Json.GetProperty("outcome").GetString().Should().Be("error");
        ended.Json.GetProperty("exitCode").GetInt32().Should().Be(3);
        ended.Json.GetProperty("error").GetProperty("id").GetString().Should().Be("KVM0101");
        ended.Json.GetProperty("timings").GetProperty("firstRunMs").ValueKind.Should().Be(JsonValueKind.Null);
    }

    [SkippableTheory]
    [InlineData("/nonexistent/report.json", "no such folder")]
    [InlineData("/", "folder")]
    public void A_report_that_cannot_be_written_is_told_before_the_guest_runs(string path, string part)
    {
        Published.RequireKvm();
        Published.Run("run", Guests.Six, "--engine", "kvm", "--report", path).ShouldFail(1, "KVM0007", part).Output.Should().BeEmpty();
    }

    [SkippableFact]
    public void A_report_that_cannot_be_written_any_more_spoils_a_good_end()
    {
        Published.RequireKvm();
        var ended = Published.Run("run", Guests.Six, "--engine", "kvm", "--report", "/dev/full");
        (ended.ExitCode, ended.Output).Should().Be((1, "!"));
        ended.ShouldFail(1, "KVM0007");
        Published.Run("run", Guests.DebugExit(5), "--engine", "kvm", "--report", "/dev/full").ExitCode.Should().Be(25);
    }

    [SkippableFact]
    public void A_console_file_that_cannot_be_made_is_told()
    {
        Published.RequireKvm();
        Published.Run("run", Guests.Six, "--engine", "kvm", "--console", "file=/nonexistent/console").ShouldFail(1, "KVM0007", "no such folder");
    }

    [SkippableTheory]
    [InlineData("{\"machine-config\": {\"vcpu_count\": 0}}", "KVM0023")]
    [InlineData("{\"drives\": [{}]}", "KVM0023")]
    [InlineData("{\"logger\": {}}", "KVM0024")]
    [InlineData("{\"bootsource\": {}}", "KVM0022")]
    [InlineData("not json", "KVM0021")]
    public void A_wrong_configuration_file_is_3_and_placed(string text, string id)
    {
        Published.Require();
        var file = Guests.Bytes("config", System.Text.Encoding.UTF8.GetBytes(text));
        Published.Run("run", "vmlinuz", "--config", file).ShouldFail(3, id, file, "line 1");
    }

    [SkippableFact]
    public void A_machine_printed_by_a_dry_run_is_the_same_machine_as_a_file()
    {
        Published.Require();
        string[] options =
        [
            "run", "vmlinuz", "--initrd", "i", "--append", "a b", "--cpus", "3", "--memory", "1G", "--engine", "soft", "--protocol", "pvh", "--nested",
            "--hyperv", "--test-devices", "--no-complete", "--no-translate", "--cpu", "v3", "--paging", "shadow", "--deterministic", "--seed", "7", "--shared-memory", "--no-huge-pages", "--name", "n", "--timeout", "90s", "--ready-match", "up", "--report", "r",
            "--console", "file=c", "--append-fast", "--balloon-stats", "2m", "--dry-run",
        ];
        var printed = Published.Run(options);
        printed.ExitCode.Should().Be(0, printed.Error);
        printed.Json.GetProperty("balloon").GetProperty("stats_polling_interval_s").GetInt32().Should().Be(120);
        var file = Guests.Bytes("machine.json", System.Text.Encoding.UTF8.GetBytes(printed.Output));
        Published.Run("run", "--config", file, "--dry-run").Output.Should().Be(printed.Output);
        Published.Run("run", "other", "--config", file, "--cpus", "1", "--dry-run").Json.GetProperty("machine-config").GetProperty("vcpu_count").GetInt32().Should().Be(1);
    }

    [SkippableFact]
    public void Without_dev_kvm_it_is_4_with_the_way_out()
    {
        Published.Require();
        Published.RequireRoot();
        WithoutDevice($"run {Guests.Six} --engine kvm").ShouldFail(4, "KVM0200", "doctor");
    }

    [SkippableFact]
    public void Without_permission_it_is_4_with_the_way_out()
    {
        Published.RequireKvm();
        Published.RequireRoot();
        AsNobody($"run {Guests.Six} --engine kvm").ShouldFail(4, "KVM0201", "usermod -aG kvm");
    }

    [SkippableFact]
    public void Whatever_the_end_no_file_is_left_behind()
    {
        Published.RequireKvm();
        var folder = Directory.CreateTempSubdirectory("kvmsharp-clean-").FullName;
        var ended = Published.Shell($"""
            export TMPDIR={folder} KVMSHARP_RUNTIME={folder}/run; cd {folder}
            "$KVMSHARP" run {Guests.Six} --engine kvm; "$KVMSHARP" run {Guests.TripleFault} --engine kvm; "$KVMSHARP" run /dev/null --engine kvm
            timeout -s TERM 1 "$KVMSHARP" run {Guests.Loop} --engine kvm
            find . -type f -o -type s -o -type p
            """);
        Directory.Delete(folder, recursive: true);
        ended.Output.Should().Be("!R./run/host-profile\n");
    }

    /// <summary>Runs the program in a mount namespace whose /dev has no kvm.</summary>
    internal static Ended WithoutDevice(string arguments) => Published.Shell($"""
        exec unshare -m sh -c 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && exec "$KVMSHARP" {arguments}' </dev/null
        """);

    /// <summary>Runs the program as a user who may not open /dev/kvm.</summary>
    internal static Ended AsNobody(string arguments) => Published.Shell($"""
        folder=$(mktemp -d) && cp "$KVMSHARP" $folder/kvmsharp && chmod 755 $folder && chmod -R a+rX {Path.GetDirectoryName(Guests.Six)}
        KVMSHARP_RUNTIME=$folder/run HOME=$folder setpriv --reuid=65534 --regid=65534 --clear-groups $folder/kvmsharp {arguments} </dev/null
        status=$?; rm -r $folder; exit $status
        """);
}
