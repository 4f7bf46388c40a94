using System.Diagnostics;
using System.Text.Json;
using Kvm.Cli.Tests;
using Kvm.Vmm;

namespace Kvm.Api.Tests.Firecracker;

/// <summary>What can be asked of a microVM that was started, on the software engine.</summary>
public sealed class RunningTests : IDisposable
{
    private readonly MicroVmHost _vm = new();

    public void Dispose() => _vm.Dispose();

    [Fact]
    public async Task A_started_microVM_is_paused_and_resumed_and_says_so()
    {
        await _vm.Boot(Guests.Loop);
        await _vm.Console("R");
        await State("Running");
        await _vm.Patch("/vm", """{"state": "Paused"}""");
        await State("Paused");
        _vm.Machine.IsPaused.Should().BeTrue();
        await _vm.Patch("/vm", """{"state": "Paused"}""");
        await _vm.Patch("/vm", """{"state": "Resumed"}""");
        await State("Running");
        _vm.Machine.IsPaused.Should().BeFalse();
    }

    [Theory]
    [InlineData("PUT", "/actions", """{"action_type": "InstanceStart"}""")]
    [InlineData("PUT", "/boot-source", """{"kernel_image_path": "/dev/null"}""")]
    [InlineData("PUT", "/machine-config", """{"vcpu_count": 1, "mem_size_mib": 64}""")]
    [InlineData("PATCH", "/machine-config", """{"vcpu_count": 1}""")]
    [InlineData("PUT", "/drives/a", """{"drive_id": "a", "path_on_host": "/dev/null", "is_root_device": false}""")]
    [InlineData("PUT", "/network-interfaces/e", """{"iface_id": "e", "host_dev_name": "tap0"}""")]
    [InlineData("PUT", "/vsock", """{"guest_cid": 3, "uds_path": "/s"}""")]
    [InlineData("PUT", "/balloon", """{"amount_mib": 1, "deflate_on_oom": true}""")]
    [InlineData("PUT", "/entropy", "{}")]
    [InlineData("PUT", "/serial", "{}")]
    [InlineData("PUT", "/cpu-config", "{}")]
    [InlineData("PUT", "/mmds/config", """{"network_interfaces": ["e"]}""")]
    [InlineData("PUT", "/mmds", "{}")]
    [InlineData("GET", "/mmds", null)]
    [InlineData("PUT", "/logger", "{}")]
    [InlineData("PUT", "/metrics", """{"metrics_path": "/dev/null"}""")]
    [InlineData("PUT", "/snapshot/load", """{"snapshot_path": "/s", "mem_file_path": "/m"}""")]
    public async Task What_is_said_before_the_start_is_refused_afterwards(string method, string path, string? body)
    {
        await _vm.Boot(Guests.Loop);
        await _vm.ShouldRefuse(method, path, body, "KVM0722");
        await State("Running");
    }

    [Fact]
    public async Task What_cannot_be_built_is_told_and_may_be_put_right()
    {
        await _vm.Put("/boot-source", $$"""{"kernel_image_path": "{{_vm.FileOf("no-kernel")}}"}""");
        await _vm.ShouldRefuse("PUT", "/actions", """{"action_type": "InstanceStart"}""", "KVM01");
        await State("Not started");
        await _vm.Boot(Guests.Six);
        await _vm.Console("!");
    }

    [Fact]
    public async Task When_the_guest_has_ended_requests_are_told_so()
    {
        await _vm.Boot(Guests.Six);
        await _vm.Ended();
        // From here on the machine is given back at any moment.
        foreach (string state in (string[])["Paused", "Resumed"])
        {
            var (status, _) = await _vm.Ask("PATCH", "/vm", $$"""{"state": "{{state}}"}""");
            status.Should().BeOneOf(204, 400);
        }
    }

    [Fact]
    public async Task Limits_of_a_drive_change_while_the_guest_runs()
    {
        await _vm.Put("/drives/d", $$"""{"drive_id": "d", "path_on_host": "{{_vm.FileOf("d.img")}}", "is_root_device": false}""");
        await _vm.Boot(Guests.Loop);
        await _vm.Patch("/drives/d", """{"drive_id": "d", "rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 10}}}""");
        await _vm.Patch("/drives/d", """{"drive_id": "d", "rate_limiter": {"ops": {"size": 7, "refill_time": 10, "one_time_burst": 1}}}""");
        await Limits("""{"bandwidth":{"size":1000,"one_time_burst":null,"refill_time":10},"ops":{"size":7,"one_time_burst":1,"refill_time":10}}""");
        await _vm.Patch("/drives/d", """{"drive_id": "d", "rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}""");
        await Limits("""{"bandwidth":null,"ops":{"size":7,"one_time_burst":1,"refill_time":10}}""");
        await _vm.ShouldRefuse("PATCH", "/drives/d", """{"drive_id": "d", "path_on_host": "/dev/zero"}""", "another file is another disk");
        await _vm.ShouldRefuse("PATCH", "/drives/e", """{"drive_id": "e"}""", "no drive 'e'");
        await _vm.ShouldRefuse("PATCH", "/drives/d", """{"drive_id": "d", "rate_limiter": {"bandwith": null}}""", "did you mean 'bandwidth'?");

        async Task Limits(string expected) => (await _vm.Get("/vm/config")).GetProperty("drives")[0].GetProperty("rate_limiter").GetRawText().Should().Be(expected);
    }

    [Fact]
    public async Task A_balloons_target_and_interval_change_while_the_guest_runs()
    {
        await _vm.Put("/balloon", """{"amount_mib": 8, "deflate_on_oom": false, "stats_polling_interval_s": 60}""");
        await _vm.Boot(Guests.Loop);
        await _vm.Patch("/balloon", """{"amount_mib": 32}""");
        await _vm.Patch("/balloon/statistics", """{"stats_polling_interval_s": 3600}""");
        (await _vm.Get("/balloon")).GetRawText().Should().Be("""{"amount_mib":32,"deflate_on_oom":false,"stats_polling_interval_s":3600,"free_page_hinting":false,"free_page_reporting":false}""");
        (await _vm.Get("/balloon/statistics")).GetRawText().Should().Be("""{"target_pages":8192,"target_mib":32,"actual_pages":0,"actual_mib":0}""");
        await _vm.ShouldRefuse("PATCH", "/balloon", """{"amount_mib": 128}""", "all of the memory");
        await _vm.ShouldRefuse("PATCH", "/balloon/statistics", """{"stats_polling_interval_s": 0}""", "before the start");
    }

    [Fact]
    public async Task Metadata_change_while_the_guest_runs()
    {
        await _vm.Put("/network-interfaces/e", """{"iface_id": "e", "backend": "none"}""");
        await _vm.Put("/mmds/config", """{"network_interfaces": ["e"]}""");
        await _vm.Boot(Guests.Loop);
        await _vm.Put("/mmds", """{"a": "b"}""");
        await _vm.Patch("/mmds", """{"c": "d"}""");
        (await _vm.Get("/mmds")).GetRawText().Should().Be("""{"a":"b","c":"d"}""");
        await _vm.Patch("/network-interfaces/e", """{"iface_id": "e", "rx_rate_limiter": {"ops": {"size": 10, "refill_time": 1000}}}""");
    }

    [Fact]
    public async Task Metrics_are_lines_of_JSON_that_say_what_came_since_the_last_one()
    {
        // A pipe: what is read comes when it is written.
        string pipe = _vm.PathOf("metrics");
        using (var make = Process.Start("mkfifo", pipe))
            await make.WaitForExitAsync();
        await _vm.Put("/metrics", $$"""{"metrics_path": "{{pipe}}", "emit_id": true, "properties": {"zone": "a"} }""");
        await _vm.Put("/drives/d", $$"""{"drive_id": "d", "path_on_host": "{{_vm.FileOf("d.img")}}", "is_root_device": false}""");
        await _vm.ShouldRefuse("PUT", "/drives/e", "{}", "lacks 'drive_id'");
        await _vm.Boot(Guests.Loop);
        await _vm.Console("R");
        await _vm.Patch("/vm", """{"state": "Paused"}""");
        using var reader = new StreamReader(new FileStream(pipe, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0));
        var first = await Flush();
        first.GetProperty("id").GetString().Should().Be("anonymous-instance");
        first.GetProperty("properties").GetRawText().Should().Be("""{"zone":"a"}""");
        Count(first, "put_api_requests", "drive_count").Should().Be(2);
        Count(first, "put_api_requests", "drive_fails").Should().Be(1);
        Count(first, "put_api_requests", "actions_count").Should().Be(1);
        Count(first, "latencies_us", "pause_vm").Should().BePositive();
        Count(first, "block_d", "read_count").Should().Be(0);
        Count(first, "block", "read_count").Should().Be(0);
        Count(first, "uart", "write_count").Should().Be(1);
        var second = await Flush();
        Count(second, "put_api_requests", "drive_count").Should().Be(0);
        Count(second, "put_api_requests", "actions_count").Should().Be(1, "the flush before this one");
        Count(second, "uart", "write_count").Should().Be(0);

        async Task<JsonElement> Flush()
        {
            await _vm.Put("/actions", """{"action_type": "FlushMetrics"}""");
            return JsonDocument.Parse((await reader.ReadLineAsync().WaitAsync(Sandbox.Patience))!).RootElement;
        }

        static long Count(JsonElement line, string group, string name) => line.GetProperty(group).GetProperty(name).GetInt64();
    }

    [Fact]
    public async Task A_microVM_goes_on_from_its_snapshot()
    {
        string state = _vm.PathOf("state"), memory = _vm.PathOf("memory");
        await _vm.Put("/machine-config", """{"vcpu_count": 1, "mem_size_mib": 16}""");
        await _vm.Boot(Guests.Echo);
        await _vm.Console("R");
        await _vm.ShouldRefuse("PUT", "/snapshot/create", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{memory}}"}""", "that is paused");
        await _vm.Patch("/vm", """{"state": "Paused"}""");
        await _vm.ShouldRefuse("PUT", "/snapshot/create", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{memory}}", "snapshot_type": "Half"}""", "neither Full nor Diff");
        await _vm.ShouldRefuse("PUT", "/snapshot/create", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{_vm.FileOf("file")}}"}""", "a folder here");
        foreach (string type in (string[])["Full", "Diff", "Diff", "Full"])
            await _vm.Put("/snapshot/create", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{memory}}", "snapshot_type": "{{type}}"}""");

        using var other = new MicroVmHost();
        await other.ShouldRefuse("PUT", "/snapshot/load", $$"""{"snapshot_path": "{{memory}}", "mem_file_path": "{{memory}}"}""", "KVM0723");
        await other.ShouldRefuse("PUT", "/snapshot/load", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{memory}}", "network_overrides": [{"iface_id": "e", "host_dev_name": "t"}]}""", "does not have");
        await other.ShouldRefuse("PUT", "/snapshot/load", $$"""{"snapshot_path": "{{state}}", "mem_file_path": "{{memory}}", "clock_realtime": true}""", "clock_realtime");
        await other.Put("/snapshot/load", $$"""{"snapshot_path": "{{state}}", "mem_backend": {"backend_type": "File", "backend_path": "{{memory}}"} }""");
        (await other.Get("/")).GetProperty("state").GetString().Should().Be("Paused");
        (await other.Get("/machine-config")).GetProperty("mem_size_mib").GetInt32().Should().Be(16);
        await other.Patch("/vm", """{"state": "Resumed"}""");
        other.Machine.SendConsoleInput("xq"u8).Should().Be(2);
        (await other.Console("x")).Should().Be("x", "it was up before the snapshot");
        await other.Ended();
    }

    [Fact]
    public async Task A_snapshot_is_loaded_before_anything_of_the_machine_is_configured()
    {
        await _vm.Put("/machine-config", """{"vcpu_count": 1, "mem_size_mib": 16}""");
        await _vm.ShouldRefuse("PUT", "/snapshot/load", """{"snapshot_path": "/s", "mem_file_path": "/m"}""", "KVM0722");
    }

    [Fact]
    public async Task A_configuration_file_starts_what_its_PUTs_would()
    {
        string file = _vm.PathOf("vm.json");
        await File.WriteAllTextAsync(file, $$"""
            {
              "mmds-config": {"network_interfaces": ["e"]}, "network-interfaces": [{"iface_id": "e", "backend": "none"}],
              "boot-source": {"kernel_image_path": "{{Guests.Loop}}", "boot_args": "quiet"}, "drives": [], "vsock": null,
              "machine-config": {"vcpu_count": 2, "mem_size_mib": 32}
            }
            """);
        using var other = new MicroVmHost(options => options with { ConfigFile = file, Id = "from-file" });
        await other.Console("R");
        var info = await other.Get("/");
        info.GetProperty("state").GetString().Should().Be("Running");
        info.GetProperty("id").GetString().Should().Be("from-file");
        (await other.Get("/vm/config")).GetProperty("boot-source").GetProperty("boot_args").GetString().Should().Be("quiet");
    }

    [Theory]
    [InlineData("{\"boot-sources\": {}}", "KVM0022", "did you mean 'boot-source'?")]
    [InlineData("{\"boot-source\": {\"kernel_image_path\": \"/nowhere\"}}", "KVM0720", "boot-source: kernel_image_path")]
    [InlineData("{\"machine-config\": {\"vcpu_count\": 1, \"mem_size_mib\": 32}}", "KVM0722", "no kernel")]
    [InlineData("{\"pmem\": [{\"id\": \"a\"}]}", "KVM0721", "virtio-pmem")]
    [InlineData("{\"drives\": [{}]}", "KVM0720", "lacks 'drive_id'")]
    [InlineData("[", "KVM0021", "vm.json")]
    public async Task A_configuration_file_that_is_wrong_is_an_error_that_says_where(string json, string id, string says)
    {
        string file = _vm.PathOf("vm.json");
        await File.WriteAllTextAsync(file, json);
        var open = () => new MicroVmHost(options => options with { ConfigFile = file });
        var error = open.Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id, error.Message);
        error.Message.Should().Contain(says);
    }

    private async Task State(string expected) => (await _vm.Get("/")).GetProperty("state").GetString().Should().Be(expected);
}
