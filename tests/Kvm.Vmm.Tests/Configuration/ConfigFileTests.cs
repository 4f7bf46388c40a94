using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Limits;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Tests.Configuration;

public class ConfigFileTests
{
    private static RunSettings Parse(string text) => ConfigFile.Parse(Encoding.UTF8.GetBytes(text), "vm.json");

    private static void ShouldFail(string text, ErrorInfo error, params string[] parts)
    {
        var act = () => Parse(text);
        var thrown = act.Should().Throw<VmmException>().Which;
        thrown.Error.Should().Be(error, thrown.Message);
        thrown.ExitCode.Should().Be(ExitCode.BadInput);
        foreach (var part in parts)
            thrown.Message.Should().Contain(part);
    }

    [Fact]
    public void A_Firecracker_file_that_asks_for_nothing_unsupported_is_taken_as_it_is()
    {
        var settings = Parse("""
            {
              "boot-source": { "kernel_image_path": "/boot/vmlinux.bin", "boot_args": "console=ttyS0 reboot=k panic=1", "initrd_path": null },
              "drives": [],
              "machine-config": { "vcpu_count": 2, "mem_size_mib": 1024, "smt": false, "track_dirty_pages": false, "cpu_template": "None", "huge_pages": "None" },
              "cpu-config": null, "balloon": null, "network-interfaces": [], "vsock": null, "logger": null, "metrics": null, "mmds-config": null, "entropy": null
            }
            """);
        settings.Machine.Should().BeEquivalentTo(new VmConfig
        {
            KernelPath = "/boot/vmlinux.bin",
            Append = "console=ttyS0 reboot=k panic=1",
            Cpus = 2,
            MemoryBytes = 1UL << 30,
        });
    }

    [Fact]
    public void What_is_written_is_read_back_as_the_same_settings()
    {
        var settings = new RunSettings
        {
            Machine = new VmConfig
            {
                KernelPath = "/k/vm\"linüz",
                InitrdPath = "/i",
                Append = "a=\\b \t",
                CommandLine = "c",
                AppendFast = true,
                Cpus = 254,
                MemoryBytes = VmConfig.MaxMemory,
                SharedMemory = true,
                HugePages = false,
                Engine = EngineChoice.Soft,
                Protocol = BootProtocol.Linux32,
                Complete = false,
                Translate = false,
                Cpu = CpuModel.V3,
                Paging = PagingMode.Shadow,
                Deterministic = true,
                Seed = long.MaxValue,
                Nested = true,
                HyperV = true,
                Timeout = TimeSpan.FromMilliseconds(1500),
                ReadyMatch = "login:",
                Name = "<a&b>",
            },
            Console = ConsoleKind.File,
            ConsolePath = "/c",
            ReportPath = "/r",
            TranslationsPath = "/t",
        };
        Parse(ConfigFile.Write(settings)).Should().Be(settings);
    }

    [Fact]
    public void Devices_are_written_and_read_back()
    {
        var machine = new VmConfig
        {
            KernelPath = "k",
            Disks =
            [
                new DiskConfig { Path = "/a,b", Id = "one", IsRoot = true, Queues = 16, Cache = DiskCache.WriteThrough, ReadOnly = true, CacheBytes = 3 << 20 },
                new DiskConfig { Path = "/c", ReadOnly = true, Cache = DiskCache.Unsafe, Aio = DiskAio.Uring, Scheduler = IoDiscipline.Fair, Weight = 9, Limits = new IoLimits(RateLimit.PerSecond(3_000_001), new RateLimit(10, 10_000_000, 5)) },
            ],
            Entropy = true,
            Balloon = new BalloonConfig { TargetBytes = 3 << 20, DeflateOnOom = false, StatisticsSeconds = ushort.MaxValue },
            Console = GuestConsole.Virtio,
            Ports = [new PortConfig { Name = "agent", SocketPath = "/run/a,b" }, new PortConfig { Name = "b", SocketPath = "/run/c" }],
            Virtio = VirtioTransport.Mmio,
        };
        Parse(ConfigFile.Write(new RunSettings { Machine = machine })).Machine.Should().BeEquivalentTo(machine, o => o.WithStrictOrdering());
    }

    [Fact]
    public void Firecrackers_rate_limiter_is_taken_and_a_bucket_of_nothing_limits_nothing()
    {
        var disks = Parse("""
            {
              "boot-source": { "kernel_image_path": "k" },
              "drives": [
                { "path_on_host": "a", "rate_limiter": { "bandwidth": { "size": 1000000, "one_time_burst": 7, "refill_time": 100 }, "ops": null } },
                { "path_on_host": "b", "rate_limiter": { "ops": { "size": 10, "one_time_burst": null, "refill_time": 0.5 } } },
                { "path_on_host": "c", "rate_limiter": { "ops": { "size": 0, "refill_time": 10 }, "bandwidth": { "size": 5, "refill_time": 0 } } }
              ]
            }
            """).Machine.Disks;
        disks[0].Limits.Should().Be(new IoLimits(new RateLimit(1_000_000, 100_000_000, 7)));
        disks[1].Limits.Should().Be(new IoLimits(null, new RateLimit(10, 500_000)));
        disks[2].Limits.Should().Be(IoLimits.None);
    }

    [Fact]
    public void Format_of_a_drive_is_what_is_said_or_else_what_its_name_says_and_is_written_back()
    {
        var machine = Parse("""
            { "boot-source": { "kernel_image_path": "k" },
              "drives": [ { "path_on_host": "a.qcow2" }, { "format": "raw", "path_on_host": "b.qcow2" }, { "path_on_host": "c", "format": "qcow2", "backing": "allow" } ] }
            """).Machine;
        machine.Disks.Select(d => (d.Format, d.AllowBacking)).Should().Equal((DiskFormat.Qcow2, false), (DiskFormat.Raw, false), (DiskFormat.Qcow2, true));
        Parse(ConfigFile.Write(new RunSettings { Machine = machine })).Machine.Disks.Should().Equal(machine.Disks);
    }

    [Fact]
    public void Firecrackers_devices_are_taken()
    {
        var machine = Parse("""
            {
              "boot-source": { "kernel_image_path": "k" },
              "drives": [ { "drive_id": "rootfs", "path_on_host": "/r.ext4", "is_root_device": true, "is_read_only": false, "partuuid": null,
                            "cache_type": "Unsafe", "io_engine": "Sync", "rate_limiter": null, "socket": null } ],
              "entropy": { "rate_limiter": null },
              "balloon": { "amount_mib": 16, "deflate_on_oom": true, "stats_polling_interval_s": 5 }
            }
            """).Machine;
        machine.Disks.Should().Equal(new DiskConfig { Path = "/r.ext4", Id = "rootfs", IsRoot = true, Cache = DiskCache.Unsafe });
        machine.Entropy.Should().BeTrue();
        machine.Balloon.Should().Be(new BalloonConfig { TargetBytes = 16 << 20, StatisticsSeconds = 5 });
    }

    [Theory]
    [InlineData("\"drives\": {}", "is not a list")]
    [InlineData("\"drives\": [1]", "is not an object")]
    [InlineData("\"drives\": [{}]", "names no file")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"cache_type\": \"None\" }]", "neither Unsafe nor Writeback")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"drive_id\": \"a b\" }]", "has the id")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"io_engine\": \"async\" }]", "neither Sync nor Async")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"rate_limiter\": 5 }]", "is not an object")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"rate_limiter\": { \"ops\": { \"size\": -1 } } }]", "is not a whole number")]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"rate_limiter\": { \"ops\": { \"refill_time\": 1e40 } } }]", "is not a number")]
    [InlineData("\"balloon\": { \"amount_mib\": -1 }", "is not a whole number")]
    [InlineData("\"balloon\": { \"stats_polling_interval_s\": 65536 }", "is not a whole number")]
    public void Devices_that_cannot_be_are_wrong_values(string member, string part) =>
        ShouldFail($"{{ {member} }}", UsageErrors.ConfigBadValue, part);

    [Theory]
    [InlineData("\"drives\": [{ \"path_on_host\": \"x\", \"socket\": \"s\" }]")]
    [InlineData("\"entropy\": { \"rate_limiter\": {} }")]
    public void What_devices_do_not_have_yet_is_said_so(string member) => ShouldFail($"{{ {member} }}", UsageErrors.ConfigUnsupported);

    [Fact]
    public void Every_default_is_written_and_read_back()
    {
        var settings = new RunSettings { Machine = new VmConfig { KernelPath = "k" } };
        Parse(ConfigFile.Write(settings)).Should().Be(settings);
    }

    [Fact]
    public void An_empty_object_is_all_defaults_without_a_kernel() => Parse("{}").Machine.Should().Be(new VmConfig { KernelPath = "" });

    [Fact]
    public void A_byte_order_mark_is_skipped() => Parse("\uFEFF{}").Machine.KernelPath.Should().BeEmpty();

    [Theory]
    [InlineData("""{"boot-sauce": {}}""", "'boot-sauce' in the file", "did you mean 'boot-source'?")]
    [InlineData("""{"machine-config": {"vcpus_count": 1}}""", "'vcpus_count' in machine-config", "did you mean 'vcpu_count'?")]
    [InlineData("""{"run": {"zzzzzzz": 1}}""", "'zzzzzzz' in run", "known: name, timeout_ms")]
    [InlineData("""{"\u001b[31mx": 1}""", "\\x1b[31mx")]
    public void An_unknown_member_is_named_with_the_nearest_known_one(string text, params string[] parts) =>
        ShouldFail(text, UsageErrors.ConfigUnknownMember, parts);

    [Fact]
    public void A_members_value_alone_changes_settings_and_an_element_replaces_its_namesake()
    {
        var basis = new RunSettings { Machine = new VmConfig { KernelPath = "k", Cpus = 3 } };
        var vm = Parse("machine-config", """{"mem_size_mib": 64, "track_dirty_pages": true, "huge_pages": "Transparent"}""", basis);
        (vm.Machine.KernelPath, vm.Machine.Cpus, vm.Machine.MemoryBytes).Should().Be(("k", 3, 64UL << 20));
        foreach (string path in (string[])["/a", "/b"])
            vm = Parse("drives", $$"""{"drive_id": "d", "path_on_host": "{{path}}", "is_read_only": null, "partuuid": "ab-01"}""", vm);
        vm = Parse("drives", """{"drive_id": "e", "path_on_host": "/c"}""", vm);
        vm.Machine.Disks.Select(disk => (disk.Id, disk.Path, disk.PartUuid)).Should().Equal(("d", "/b", "ab-01"), ("e", "/c", null));
        Text(vm).Should().Contain("\"partuuid\": \"ab-01\"");

        static RunSettings Parse(string member, string text, RunSettings basis) => ConfigFile.ParseMember(member, Encoding.UTF8.GetBytes(text), "body", basis);

        static string Text(RunSettings vm) => ConfigFile.Write(vm);
    }

    [Theory]
    [InlineData("drives", """{"drive_id": "d", "path_on_host": "/a", "partuuid": "x y"}""", "has the partition 'x y'")]
    [InlineData("drives", """{"path_on_host": "/a"} {}""", "not valid JSON")]
    [InlineData("machine-config", "[]", "'machine-config' is not an object")]
    [InlineData("balloon", """{"free_page_hinting": true}""", "'balloon.free_page_hinting'")]
    [InlineData("vsock", "{", "not valid JSON")]
    public void A_members_value_that_is_wrong_is_told_by_the_name_of_its_text(string member, string text, string says)
    {
        var parse = () => ConfigFile.ParseMember(member, Encoding.UTF8.GetBytes(text), "body", new RunSettings { Machine = new VmConfig { KernelPath = "" } });
        parse.Should().Throw<VmmException>().Which.Message.Should().StartWith("'body', line 1").And.Contain(says);
    }

    [Theory]
    [InlineData("""{"cpu-config": {}}""", "'cpu-config'")]
    [InlineData("""{"machine-config": {"smt": true}}""", "'machine-config.smt'")]
    [InlineData("""{"machine-config": {"cpu_template": "T2"}}""", "'machine-config.cpu_template'")]
    [InlineData("""{"machine-config": {"huge_pages": "2M"}}""", "'machine-config.huge_pages'")]
    public void A_member_of_Firecracker_that_is_not_supported_is_named(string text, string part) =>
        ShouldFail(text, UsageErrors.ConfigUnsupported, part);

    [Theory]
    [InlineData("""{"machine-config": {"vcpu_count": 0}}""", "'vcpu_count' is not a whole number from 1 to 254")]
    [InlineData("""{"machine-config": {"vcpu_count": 10000}}""", "'vcpu_count'")]
    [InlineData("""{"machine-config": {"vcpu_count": "2"}}""", "'vcpu_count'")]
    [InlineData("""{"machine-config": {"vcpu_count": 1.5}}""", "'vcpu_count'")]
    [InlineData("""{"machine-config": {"vcpu_count": 99999999999999999999}}""", "'vcpu_count'")]
    [InlineData("""{"machine-config": {"mem_size_mib": -1}}""", "'mem_size_mib'")]
    [InlineData("""{"machine-config": {"mem_size_mib": 9007199254740993}}""", "'mem_size_mib'")]
    [InlineData("""{"machine-config": {"engine": "qemu"}}""", "'engine' is not one of auto, kvm, soft")]
    [InlineData("""{"machine-config": {"nested": "yes"}}""", "'nested' is neither true nor false")]
    [InlineData("""{"machine-config": []}""", "'machine-config' is not an object")]
    [InlineData("""{"boot-source": {"kernel_image_path": null}}""", "'kernel_image_path' is not a text")]
    [InlineData("""{"boot-source": {"initrd_path": "a", "initrd_path": "b"}}""", "'initrd_path' stands there twice")]
    [InlineData("""{"run": {"timeout_ms": 0}}""", "'timeout_ms'")]
    [InlineData("""{"run": {"console": "tty"}}""", "'console' is not one of stdio, none, file=FILE")]
    [InlineData("""{"boot-source": {"kernel_image_path": "k"}, "run": {"ready_match": ""}}""", "the text to wait for")]
    [InlineData("[]", "'the file' is not an object")]
    [InlineData("null", "'the file' is not an object")]
    public void A_wrong_value_is_named_with_what_it_should_be(string text, string part) =>
        ShouldFail(text, UsageErrors.ConfigBadValue, part);

    [Theory]
    [InlineData("", "line 1, column 1")]
    [InlineData("{", "line 1, column 2")]
    [InlineData("{\n  \"run\": {,}\n}", "line 2, column 11 (offset 12)")]
    [InlineData("{} x", "line 1")]
    [InlineData("{'run': {}}", "line 1, column 2")]
    [InlineData("{\"run\": {}, }", "line 1")]
    [InlineData("{\"run\": {\"name\": \"\\ud800\"}}", "line 1")]
    [InlineData("// a comment\n{}", "line 1, column 1")]
    public void What_is_not_JSON_is_placed_by_line_and_column(string text, string place) =>
        ShouldFail(text, UsageErrors.ConfigNotJson, place, "'vm.json'");

    [Fact]
    public void What_is_not_UTF8_is_refused()
    {
        var act = () => ConfigFile.Parse([(byte)'{', (byte)'"', 0xff, 0xfe, (byte)'"', (byte)':', (byte)'1', (byte)'}'], "f");
        act.Should().Throw<VmmException>().Which.ExitCode.Should().Be(ExitCode.BadInput);
    }

    [Fact]
    public void Too_deep_a_file_is_refused() =>
        ShouldFail("{\"run\": {\"name\": " + new string('[', 100_000), UsageErrors.ConfigBadValue);

    [Fact]
    public void Deep_nesting_in_a_skipped_place_is_refused() =>
        ShouldFail("{\"drives\": " + new string('[', 100_000), UsageErrors.ConfigBadValue);

    [Fact]
    public void Too_large_a_file_is_refused_before_it_is_read_whole()
    {
        var path = Path.GetTempFileName();
        try
        {
            using (var file = File.OpenWrite(path))
                file.SetLength(1L << 34);
            var act = () => ConfigFile.Load(path);
            act.Should().Throw<VmmException>().Which.Error.Should().Be(UsageErrors.ConfigTooLarge);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("/nonexistent/vm.json", "no such folder")]
    [InlineData("/nonexistent", "no such file")]
    [InlineData("/", "permission denied, or it is a folder")]
    [InlineData("a\0b", "not a usable path")]
    public void A_file_that_cannot_be_read_is_named_with_the_reason(string path, string reason)
    {
        var act = () => ConfigFile.Load(path);
        act.Should().Throw<VmmException>().Where(e => e.Error == UsageErrors.ConfigUnreadable && e.Message.Contains(reason));
    }

    [Fact]
    public void Random_edits_of_a_file_end_in_settings_or_in_one_of_our_errors()
    {
        var whole = Encoding.UTF8.GetBytes(ConfigFile.Write(new RunSettings { Machine = new VmConfig { KernelPath = "k", InitrdPath = "i", Timeout = TimeSpan.FromSeconds(1) } }));
        var edits = Gen.Choose(0, whole.Length - 1).Zip(Gen.Choose(0, 255)).ArrayOf().Zip(Gen.Choose(0, whole.Length)).ToArbitrary();
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(2000), Prop.ForAll(edits, edit =>
        {
            var text = (byte[])whole.Clone();
            foreach (var (at, value) in edit.Item1)
                text[at] = (byte)value;
            try
            {
                ConfigFile.Parse(text.AsSpan(0, edit.Item2), "f");
            }
            catch (VmmException)
            {
                // Any of our errors is right; anything else fails the property.
            }
        }));
    }

    [Theory]
    [InlineData("stdio", GuestConsole.Serial, ConsoleKind.Stdio, null)]
    [InlineData("virtio", GuestConsole.Virtio, ConsoleKind.None, null)]
    [InlineData("virtio,stdio", GuestConsole.Virtio, ConsoleKind.Stdio, null)]
    [InlineData("serial,none", GuestConsole.Serial, ConsoleKind.None, null)]
    [InlineData("virtio,file=/a,b", GuestConsole.Virtio, ConsoleKind.File, "/a,b")]
    [InlineData("file=/virtio,none", GuestConsole.Serial, ConsoleKind.File, "/virtio,none")]
    public void Console_is_a_device_or_a_place_or_both_and_what_is_left_out_stays(string text, GuestConsole device, ConsoleKind kind, string? path)
    {
        var settings = new RunSettings { Machine = new VmConfig { KernelPath = "k" }, Console = ConsoleKind.None }.WithConsole(text)!;
        (settings.Machine.Console, settings.Console, settings.ConsolePath).Should().Be((device, kind, path));
        new RunSettings { Machine = new VmConfig { KernelPath = "k" } }.WithConsole(settings.ConsoleText).Should().Be(settings);
    }

    [Theory]
    [InlineData("""{ "run": { "console": "virtio,somewhere" } }""", "is not one of")]
    [InlineData("""{ "ports": {} }""", "is not a list")]
    [InlineData("""{ "ports": [ { "name": "a" } ] }""", "names no socket")]
    [InlineData("""{ "ports": [ { "name": "a/b", "socket": "/s" } ] }""", "names are 1 to 64")]
    [InlineData("""{ "boot-source": { "kernel_image_path": "k" }, "ports": [ { "name": "a", "socket": "/s" }, { "name": "a", "socket": "/t" } ] }""", "same name")]
    public void Wrong_consoles_and_ports_say_what_is_wrong(string text, string what) => ShouldFail(text, UsageErrors.ConfigBadValue, what);

    [Fact]
    public void Firecracker_s_serial_output_is_the_console_s_file()
    {
        var settings = Parse("""{ "boot-source": { "kernel_image_path": "k" }, "serial": { "serial_out_path": "/out", "rate_limiter": null } }""");
        (settings.Console, settings.ConsolePath).Should().Be((ConsoleKind.File, "/out"));
        Parse("""{ "serial": { "serial_out_path": null } }""").Console.Should().Be(ConsoleKind.Stdio);
        ShouldFail("""{ "serial": { "rate_limiter": { "size": 1 } } }""", UsageErrors.ConfigUnsupported, "'serial.rate_limiter'");
    }
}
