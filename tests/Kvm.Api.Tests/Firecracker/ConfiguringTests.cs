using System.Text.Json;
using Kvm.Api.Firecracker;
using Kvm.Cli.Tests;

namespace Kvm.Api.Tests.Firecracker;

/// <summary>What can be said of a microVM before its start.</summary>
public sealed class ConfiguringTests : IDisposable
{
    private readonly MicroVmHost _vm = new();

    public void Dispose() => _vm.Dispose();

    [Fact]
    public async Task Of_a_new_microVM_the_defaults_are_told()
    {
        var info = await _vm.Get("/");
        info.GetRawText().Should().Be("""{"id":"anonymous-instance","state":"Not started","vmm_version":"1.17.0","app_name":"Firecracker"}""");
        (await _vm.Get("/version")).GetRawText().Should().Be("""{"firecracker_version":"1.17.0"}""");
        (await _vm.Get("/machine-config")).GetRawText().Should().Be("""{"vcpu_count":1,"mem_size_mib":128,"smt":false,"track_dirty_pages":false,"huge_pages":"None"}""");
        (await _vm.Get("/mmds")).GetRawText().Should().Be("{}");
    }

    [Fact]
    public async Task What_each_PUT_adds_is_told_by_vm_config()
    {
        string disk = _vm.FileOf("data.img"), root = _vm.FileOf("root.img"), socket = _vm.PathOf("v.sock");
        await _vm.Put("/boot-source", $$"""{"kernel_image_path": "{{Guests.Six}}", "boot_args": "console=ttyS0 reboot=k", "initrd_path": null}""");
        await _vm.Put("/machine-config", """{"vcpu_count": 2, "mem_size_mib": 256, "smt": false, "track_dirty_pages": true, "huge_pages": "Transparent"}""");
        await _vm.Put("/drives/data", $$"""{"drive_id": "data", "path_on_host": "{{disk}}", "is_root_device": false, "is_read_only": true, "cache_type": "Unsafe", "io_engine": "Async"}""");
        await _vm.Put("/drives/rootfs", $$"""
            {"drive_id": "rootfs", "path_on_host": "{{root}}", "is_root_device": true, "is_read_only": false, "partuuid": "0eaa91a0-01",
             "rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 100, "one_time_burst": 5}, "ops": null} }
            """);
        await _vm.Put("/network-interfaces/eth0", """{"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "06:00:AC:10:00:02", "mtu": 1400}""");
        await _vm.Put("/vsock", $$"""{"guest_cid": 3, "uds_path": "{{socket}}", "vsock_id": "v"}""");
        await _vm.Put("/balloon", """{"amount_mib": 16, "deflate_on_oom": true, "stats_polling_interval_s": 5, "free_page_reporting": true}""");
        await _vm.Put("/entropy", "{}");
        await _vm.Put("/mmds/config", """{"version": "V2", "network_interfaces": ["eth0"], "imds_compat": true}""");
        await _vm.Put("/cpu-config", """{"cpuid_modifiers": [], "msr_modifiers": []}""");

        var all = await _vm.Get("/vm/config");
        JsonNodes(all, "boot-source").Should().Be($$"""{"kernel_image_path":"{{Guests.Six}}","initrd_path":null,"boot_args":"console=ttyS0 reboot=k"}""");
        JsonNodes(all, "machine-config").Should().Be("""{"vcpu_count":2,"mem_size_mib":256,"smt":false,"track_dirty_pages":true,"huge_pages":"Transparent"}""");
        JsonNodes(all, "drives").Should().Be($$"""
            [{"drive_id":"rootfs","partuuid":"0eaa91a0-01","is_root_device":true,"cache_type":"Writeback","is_read_only":false,"path_on_host":"{{root}}","rate_limiter":{"bandwidth":{"size":1000,"one_time_burst":5,"refill_time":100},"ops":null},"io_engine":"Sync","socket":null},{"drive_id":"data","partuuid":null,"is_root_device":false,"cache_type":"Unsafe","is_read_only":true,"path_on_host":"{{disk}}","rate_limiter":null,"io_engine":"Async","socket":null}]
            """);
        JsonNodes(all, "network-interfaces").Should().Be("""[{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"06:00:ac:10:00:02","mtu":1400,"rx_rate_limiter":null,"tx_rate_limiter":null}]""");
        JsonNodes(all, "vsock").Should().Be($$"""{"guest_cid":3,"uds_path":"{{socket}}"}""");
        JsonNodes(all, "balloon").Should().Be("""{"amount_mib":16,"deflate_on_oom":true,"stats_polling_interval_s":5,"free_page_hinting":false,"free_page_reporting":true}""");
        JsonNodes(all, "entropy").Should().Be("""{"rate_limiter":null}""");
        JsonNodes(all, "mmds-config").Should().Be("""{"version":"V2","network_interfaces":["eth0"],"ipv4_address":"169.254.169.254","imds_compat":true}""");
        (await _vm.Get("/balloon")).GetProperty("amount_mib").GetInt32().Should().Be(16);
    }

    [Theory]
    [InlineData("PUT", "/boot-source", "", "the body is empty")]
    [InlineData("PUT", "/boot-source", "{", "KVM0720")]
    [InlineData("PUT", "/boot-source", "[]", "no object")]
    [InlineData("PUT", "/boot-source", "{}", "lacks 'kernel_image_path'")]
    [InlineData("PUT", "/boot-source", "{\"kernel_image_path\": 1}", "'kernel_image_path' is not a text")]
    [InlineData("PUT", "/boot-source", "{\"kernel_image_path\": \"/nowhere/vmlinux\"}", "is no file")]
    [InlineData("PUT", "/boot-source", "{\"kernel_image_path\": \"/dev/null\", \"boot_arg\": \"x\"}", "did you mean 'boot_args'?")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 1}", "lacks 'mem_size_mib'")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 33, \"mem_size_mib\": 128}", "1 to 32")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 0, \"mem_size_mib\": 128}", "'vcpu_count' is not a whole number")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 1, \"mem_size_mib\": 128, \"smt\": true}", "machine-config.smt")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 1, \"mem_size_mib\": 128, \"cpu_template\": \"T2\"}", "machine-config.cpu_template")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 1, \"mem_size_mib\": 128, \"huge_pages\": \"2M\"}", "machine-config.huge_pages")]
    [InlineData("PUT", "/machine-config", "{\"vcpu_count\": 1, \"mem_size_mib\": 129, \"huge_pages\": \"Transparent\"}", "multiple of 2")]
    [InlineData("PATCH", "/machine-config", "{}", "changes nothing")]
    [InlineData("PUT", "/drives/a", "{\"drive_id\": \"b\", \"is_root_device\": false, \"path_on_host\": \"/dev/null\"}", "the body's another")]
    [InlineData("PUT", "/drives/a-b", "{\"drive_id\": \"a-b\", \"is_root_device\": false, \"path_on_host\": \"/dev/null\"}", "letters, digits and underscores")]
    [InlineData("PUT", "/drives/a", "{\"drive_id\": \"a\", \"is_root_device\": false}", "lacks 'path_on_host'")]
    [InlineData("PUT", "/drives/a", "{\"drive_id\": \"a\", \"is_root_device\": false, \"socket\": \"/s\"}", "vhost-user")]
    [InlineData("PUT", "/drives/a", "{\"drive_id\": \"a\", \"is_root_device\": false, \"path_on_host\": \"/nowhere\"}", "is no file")]
    [InlineData("PUT", "/drives", "{\"drive_id\": \"a\"}", "is not there")]
    [InlineData("PUT", "/network-interfaces/e", "{\"iface_id\": \"e\"}", "lacks 'host_dev_name'")]
    [InlineData("PUT", "/network-interfaces/e", "{\"iface_id\": \"e\", \"host_dev_name\": \"tap0\", \"guest_mac\": \"x\"}", "'guest_mac' is no address")]
    [InlineData("PUT", "/network-interfaces/e", "{\"iface_id\": \"e\", \"host_dev_name\": \"a-name-that-is-too-long\"}", "KVM0")]
    [InlineData("PUT", "/vsock", "{\"guest_cid\": 2, \"uds_path\": \"/s\"}", "'guest_cid' is not a whole number")]
    [InlineData("PUT", "/balloon", "{\"amount_mib\": 128, \"deflate_on_oom\": true}", "all of the memory")]
    [InlineData("PUT", "/balloon", "{\"amount_mib\": 1, \"deflate_on_oom\": true, \"free_page_hinting\": true}", "balloon.free_page_hinting")]
    [InlineData("GET", "/balloon", null, "has no balloon")]
    [InlineData("PUT", "/entropy", "{\"rate_limiter\": {\"ops\": null}}", "entropy.rate_limiter")]
    [InlineData("PUT", "/mmds/config", "{\"network_interfaces\": [\"eth9\"]}", "not configured")]
    [InlineData("PUT", "/mmds/config", "{\"network_interfaces\": []}", "names none")]
    [InlineData("PATCH", "/mmds", "{\"a\": 1}", "no metadata yet")]
    [InlineData("PUT", "/cpu-config", "{\"msr_modifiers\": [{\"addr\": \"0x10\", \"bitmap\": \"0b1\"}]}", "cpu-config.msr_modifiers")]
    [InlineData("PUT", "/cpu-config", "{\"cpuid\": []}", "does not have 'cpuid'")]
    [InlineData("PUT", "/logger", "{\"level\": \"loud\"}", "not one of Off")]
    [InlineData("PUT", "/logger", "{\"log_path\": \"/nowhere/log\"}", "KVM0724")]
    [InlineData("PUT", "/logger", "{\"log_file\": \"x\"}", "does not have 'log_file'")]
    [InlineData("PUT", "/metrics", "{}", "metrics_path")]
    [InlineData("PUT", "/actions", "{\"action_type\": \"Explode\"}", "not one of InstanceStart")]
    [InlineData("PUT", "/actions", "{\"action_type\": \"InstanceStart\"}", "no kernel was named")]
    [InlineData("PUT", "/actions", "{\"action_type\": \"FlushMetrics\"}", "was not started")]
    [InlineData("PUT", "/actions", "{\"action_type\": \"SendCtrlAltDel\"}", "was not started")]
    [InlineData("PATCH", "/vm", "{\"state\": \"Paused\"}", "was not started")]
    [InlineData("PATCH", "/vm", "{\"state\": \"Sleeping\"}", "neither Paused nor Resumed")]
    [InlineData("PATCH", "/balloon", "{\"amount_mib\": 1}", "was not started")]
    [InlineData("GET", "/balloon/statistics", null, "was not started")]
    [InlineData("PATCH", "/drives/a", "{\"drive_id\": \"a\"}", "was not started")]
    [InlineData("PUT", "/snapshot/create", "{\"snapshot_path\": \"/s\", \"mem_file_path\": \"/m\"}", "was not started")]
    [InlineData("PUT", "/snapshot/load", "{\"snapshot_path\": \"/dev/null\", \"mem_file_path\": \"/m\", \"mem_backend\": {\"backend_type\": \"File\", \"backend_path\": \"/m\"}}", "and not both")]
    [InlineData("PUT", "/snapshot/load", "{\"snapshot_path\": \"/dev/null\", \"mem_backend\": {\"backend_type\": \"Uffd\", \"backend_path\": \"/m\"}}", "Uffd")]
    [InlineData("PUT", "/snapshot/load", "{\"snapshot_path\": \"/dev/null\", \"mem_file_path\": \"/m\"}", "KVM0723")]
    [InlineData("PUT", "/pmem/a", "{}", "virtio-pmem")]
    [InlineData("PUT", "/hotplug/memory", "{}", "virtio-mem")]
    [InlineData("GET", "/hotplug/memory", null, "virtio-mem")]
    [InlineData("PATCH", "/balloon/hinting/start", "", "free page reporting")]
    [InlineData("DELETE", "/drives/a", null, "before the start only")]
    [InlineData("GET", "/machine-configs", null, "did you mean /machine-config?")]
    [InlineData("GET", "/actions", null, "takes PUT")]
    [InlineData("GET", "/version", "{}", "takes no body")]
    public async Task A_request_that_cannot_be_done_is_a_400_with_the_reason(string method, string path, string? body, string says) =>
        await _vm.ShouldRefuse(method, path, body, says);

    [Fact]
    public async Task What_is_refused_changes_nothing()
    {
        await _vm.Put("/machine-config", """{"vcpu_count": 2, "mem_size_mib": 64}""");
        await _vm.ShouldRefuse("PUT", "/machine-config", """{"vcpu_count": 4, "mem_size_mib": 0}""", "mem_size_mib");
        await _vm.ShouldRefuse("PATCH", "/machine-config", """{"vcpu_count": 8, "smt": true}""", "smt");
        await _vm.Patch("/machine-config", """{"mem_size_mib": 96}""");
        (await _vm.Get("/machine-config")).GetRawText().Should().StartWith("""{"vcpu_count":2,"mem_size_mib":96,""");
    }

    [Fact]
    public async Task A_second_PUT_of_an_id_replaces_the_first()
    {
        string one = _vm.FileOf("one.img"), two = _vm.FileOf("two.img");
        foreach (string path in (string[])[one, two])
            await _vm.Put("/drives/d", $$"""{"drive_id": "d", "path_on_host": "{{path}}", "is_root_device": true}""");
        var drives = (await _vm.Get("/vm/config")).GetProperty("drives");
        drives.GetArrayLength().Should().Be(1);
        drives[0].GetProperty("path_on_host").GetString().Should().Be(two);
        await _vm.ShouldRefuse("PUT", "/drives/e", $$"""{"drive_id": "e", "path_on_host": "{{one}}", "is_root_device": true}""", "another drive with is_root_device");
        await _vm.Put("/network-interfaces/a", """{"iface_id": "a", "host_dev_name": "tap0", "guest_mac": "06:00:AC:10:00:02"}""");
        await _vm.ShouldRefuse("PUT", "/network-interfaces/b", """{"iface_id": "b", "host_dev_name": "tap1", "guest_mac": "06:00:ac:10:00:02"}""", "another interface's");
    }

    [Fact]
    public async Task Metadata_are_put_merged_and_bounded()
    {
        await _vm.Put("/mmds", """{"latest": {"meta-data": {"ami-id": "a", "n": 1.50}, "drop": {"x": [1]}}}""");
        await _vm.Patch("/mmds", """{"latest": {"meta-data": {"ami-id": "b", "new": {"y": null, "z": true}}, "drop": null}}""");
        (await _vm.Get("/mmds")).GetRawText().Should().Be("""{"latest":{"meta-data":{"n":1.50,"ami-id":"b","new":{"z":true}}}}""");
        await _vm.ShouldRefuse("PUT", "/mmds", "[1]", "no object");
        string half = new('x', FirecrackerOptions.DefaultPayload / 2);
        await _vm.Put("/mmds", $$"""{"a": "{{half}}"}""");
        await _vm.ShouldRefuse("PATCH", "/mmds", $$"""{"b": "{{half}}"}""", "--mmds-size-limit", 413);
        (await _vm.Get("/mmds")).TryGetProperty("b", out _).Should().BeFalse();
    }

    [Fact]
    public async Task Bodies_that_are_too_large_or_too_deep_are_refused()
    {
        await _vm.ShouldRefuse("PUT", "/mmds", $$"""{"a": "{{new string('x', FirecrackerOptions.DefaultPayload)}}"}""", "--http-api-max-payload-size", 413);
        string deep = string.Concat(Enumerable.Repeat("{\"a\":", 5000)) + "1" + new string('}', 5000);
        await _vm.ShouldRefuse("PUT", "/mmds", deep, "KVM0720");
        foreach (string length in (string[])["1073741824", "99999999999999999999"])
        {
            string answer = await _vm.Sandbox.Raw($"PUT /boot-source HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{{");
            answer.Should().MatchRegex("^HTTP/1.1 4(00|13) ");
        }

        (await _vm.Get("/")).GetProperty("state").GetString().Should().Be("Not started");
    }

    [Fact]
    public async Task A_client_that_vanishes_leaves_the_others_their_turn()
    {
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        for (int i = 0; i < 8; i++)
        {
            using var gone = await _vm.Sandbox.Connect(patience.Token);
            await gone.SendAsync("PUT /boot-source HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"u8.ToArray(), patience.Token);
        }

        await _vm.Put("/boot-source", $$"""{"kernel_image_path": "{{Guests.Six}}"}""");
    }

    [Fact]
    public async Task The_log_has_a_line_for_each_request_and_each_refusal()
    {
        string log = _vm.PathOf("log");
        using (var other = new MicroVmHost(options => options with { Id = "vm-1" }))
        {
            await other.Put("/logger", $$"""{"log_path": "{{log}}", "level": "debug", "show_level": true, "show_log_origin": true}""");
            await other.Put("/machine-config", """{"vcpu_count": 1, "mem_size_mib": 64}""");
            await other.ShouldRefuse("PUT", "/entropy", "[]", "is not an object");
            await other.Put("/logger", """{"level": "Off"}""");
            await other.Put("/machine-config", """{"vcpu_count": 1, "mem_size_mib": 64}""");
        }

        string[] lines = await File.ReadAllLinesAsync(log);
        lines.Select(line => line.Split("] ")[1]).Should().HaveCount(4).And.StartWith("PUT /machine-config").And.Contain(line => line.StartsWith("PUT /entropy: KVM", StringComparison.Ordinal));
        lines[0].Should().MatchRegex("""^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9} \[vm-1:api_server:INFO:api_server\] """);
    }

    private static string JsonNodes(JsonElement all, string member) => all.GetProperty(member).GetRawText();
}
