using System.Net;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Tests;
using Kvm.Manager;
using Kvm.Manager.Networks;
using static Kvm.Api.Tests.Rest.ManagerFixture;

namespace Kvm.Api.Tests.Rest;

/// <summary>Machines by the manager's API.</summary>
public sealed class ManagerApiTests : IDisposable
{
    private readonly ManagerFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task A_machine_is_made_told_of_listed_and_forgotten()
    {
        using var client = _fixture.Serve();
        using var made = await client.PostAsync("/vms", NewVm("web", more: ",\"restart\":\"on-failure:3\",\"autostart\":true"));
        made.StatusCode.Should().Be(HttpStatusCode.Created);
        made.Headers.Location!.ToString().Should().Be("/vms/web");
        var record = JsonDocument.Parse(await made.Content.ReadAsStringAsync()).RootElement;
        record.GetProperty("state").GetString().Should().Be("created");
        record.GetProperty("restart").GetString().Should().Be("on-failure:3");
        record.GetProperty("autostart").GetBoolean().Should().BeTrue();
        _fixture.Manager.Get("web").Autostart.Should().BeTrue("the verbs see the same machine");
        (await Get(client, "/vms")).GetProperty("vms").EnumerateArray().Single().ToString().Should().Be((await Get(client, "/vms/web")).ToString());
        (await client.DeleteAsync("/vms/web")).StatusCode.Should().Be(HttpStatusCode.NoContent);
        (await client.GetAsync("/vms/web")).StatusCode.Should().Be(HttpStatusCode.NotFound);
    }

    [Theory]
    [InlineData("", "\"name\":\"..\"", "KVM0602", 400)]
    [InlineData("", "\"name\":\"a/b\"", "KVM0602", 400)]
    [InlineData("", "\"name\":\"wеb\"", "U+0435", 400)]
    [InlineData("", "\"restart\":\"sometimes\"", "restart is not one of", 400)]
    [InlineData("", "\"nam\":\"web\"", "did you mean name?", 400)]
    [InlineData("\"machine-config\":{\"vcpu_cuont\":1}", "\"name\":\"web\"", "vcpu_count", 400)]
    [InlineData("", "\"name\":\"taken\"", "KVM0603", 409)]
    public async Task A_machine_that_cannot_be_made_is_refused_with_the_reason(string config, string members, string says, int status)
    {
        using var client = _fixture.Serve();
        (await client.PostAsync("/vms", NewVm("taken"))).EnsureSuccessStatusCode();
        string boot = "\"boot-source\":{\"kernel_image_path\":\"/nowhere/vmlinux\"}";
        using var refused = await client.PostAsync("/vms", Json($"{{\"config\":{{{boot}{(config.Length > 0 ? "," : "")}{config}}},{members}}}"));
        string text = await refused.Content.ReadAsStringAsync();
        ((int)refused.StatusCode).Should().Be(status, text);
        text.Should().Contain(says);
        (await Get(client, "/vms")).GetProperty("vms").GetArrayLength().Should().Be(1);
    }

    [Fact]
    public async Task A_name_of_300_bytes_and_one_with_an_encoded_slash_are_no_machine()
    {
        using var client = _fixture.Serve();
        foreach (string name in (string[])[new('a', 300), "a%2Fb", "%2e%2e%2fetc"])
        {
            using var answer = await client.GetAsync($"/vms/{name}");
            ((int)answer.StatusCode).Should().BeOneOf(400, 404);
            using var start = await client.PostAsync($"/vms/{name}/start", null);
            ((int)start.StatusCode).Should().BeOneOf(400, 404);
        }
    }

    [SkippableFact]
    public async Task A_machine_is_started_paused_resumed_and_stopped_by_operations_that_are_followed()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("web", Guests.PowerButton));
        foreach (var (verb, state) in new[] { ("start", "running"), ("pause", "paused"), ("resume", "running") })
        {
            await Do(client, $"/vms/web/{verb}");
            (await Get(client, "/vms/web")).GetProperty("state").GetString().Should().Be(state);
        }

        await WaitForText(client, "/vms/web/console", "R");
        using var accepted = await client.PostAsync("/vms/web/stop", Json("{\"timeoutMs\":30000}"));
        var operation = await Ended(client, accepted);
        operation.GetProperty("result").GetProperty("how").GetString().Should().Be("stop");
        string log = await client.GetStringAsync("/vms/web/logs");
        log.Should().Contain("R");
        (await client.GetStringAsync("/vms/web/logs?tail=1")).Should().Be(log[^1..]);
        (await client.GetStringAsync("/vms/web/logs?tail=100000")).Should().Be(log);
        (await client.GetAsync("/vms/web/logs?tail=-1")).StatusCode.Should().Be(HttpStatusCode.BadRequest);
        (await Get(client, "/operations?vm=web")).GetProperty("operations").EnumerateArray().Select(one => one.GetProperty("verb").GetString()).Should().Equal("start", "pause", "resume", "stop");
    }

    [SkippableFact]
    public async Task An_operation_that_fails_says_why_and_one_that_is_asked_for_twice_with_a_key_is_one()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("web"));
        List<string> places = [];
        for (int i = 0; i < 2; i++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/vms/web/start") { Headers = { { "Idempotency-Key", "k1" } } };
            using var accepted = await client.SendAsync(request);
            places.Add(accepted.Headers.Location!.ToString());
            var operation = await Ended(client, accepted);
            operation.GetProperty("state").GetString().Should().Be("failed");
            operation.GetProperty("errorId").GetString().Should().Be("KVM0608");
        }

        places[0].Should().Be(places[1]);
        (await client.PostAsync("/vms/nobody/start", null)).StatusCode.Should().Be(HttpStatusCode.NotFound);
        (await client.GetAsync("/operations/c999")).StatusCode.Should().Be(HttpStatusCode.NotFound);
        (await client.GetAsync("/operations/one")).StatusCode.Should().Be(HttpStatusCode.NotFound);
        (await client.GetAsync("/vms/web/map")).StatusCode.Should().Be(HttpStatusCode.Conflict, "it does not run");
    }

    [SkippableFact]
    public async Task What_is_typed_reaches_the_guest_and_what_it_writes_comes_back()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("echo", Guests.Echo));
        await Do(client, "/vms/echo/start");
        await using var console = await client.GetStreamAsync("/vms/echo/console");
        await ReadUntil(console, "R");
        (await client.PostAsync("/vms/echo/console", new ByteArrayContent("hello"u8.ToArray()))).StatusCode.Should().Be(HttpStatusCode.NoContent);
        await ReadUntil(console, "hello");
        (await client.PostAsync("/vms/echo/console", new ByteArrayContent("q"u8.ToArray()))).StatusCode.Should().Be(HttpStatusCode.NoContent);
        (await new StreamReader(console).ReadToEndAsync()).Should().NotContain("hello", "the stream ends with the guest");
    }

    [Fact]
    public void A_second_manager_of_a_state_folder_is_refused_and_the_first_named()
    {
        using (_fixture.Open())
        {
            FluentActions.Invoking(() => _fixture.Open()).Should().Throw<Vmm.VmmException>().Where(e => e.Error.Id == "KVM0706")
                .WithMessage($"process {Environment.ProcessId} at {_fixture.SocketPath} serves*");
        }

        _fixture.Open().Dispose();
    }

    [SkippableFact]
    public async Task A_machine_outlives_its_manager_and_is_the_next_ones()
    {
        Published.Require();
        using (var first = _fixture.Open())
        {
            _fixture.Manager.Create(Settings(Guests.Loop, "web"));
            _fixture.Manager.Start("web");
        }

        _fixture.Manager.Get("web").State.Should().Be(VmState.Running);
        using var client = _fixture.Serve();
        (await Get(client, "/vms/web")).GetProperty("state").GetString().Should().Be("running");
        await Do(client, "/vms/web/kill");
    }

    [SkippableFact]
    public async Task A_machine_whose_supervisor_and_process_were_killed_is_started_again_by_the_manager()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("web", Guests.Loop, ",\"restart\":\"always\""));
        using var events = new EventReader(await client.GetStreamAsync("/events?vm=web"));
        await Do(client, "/vms/web/start");
        await events.Until("running");
        var record = _fixture.Manager.Get("web");
        record.Supervisor!.Value.Kill();
        record.Supervisor!.Value.WaitForEnd(Sandbox.Patience).Should().BeTrue();
        record.Worker!.Value.Kill();
        await events.Until("crashed");
        await events.Until("running");
        var next = _fixture.Manager.Get("web");
        next.Restarts.Should().BeGreaterThan(0);
        next.Worker.Should().NotBe(record.Worker);
    }

    [SkippableFact]
    public async Task A_machine_whose_process_is_killed_is_told_as_crashed_though_nobody_looks()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("web", Guests.Loop));
        using var events = new EventReader(await client.GetStreamAsync("/events"));
        await Do(client, "/vms/web/start");
        _fixture.Manager.Store.Read("web").Worker!.Value.Kill();
        (await events.Until("crashed")).GetProperty("detail").GetString().Should().Contain("worker-died");
    }

    [SkippableFact]
    public async Task Machines_that_start_with_the_host_are_started_in_order_and_once_a_boot()
    {
        Published.Require();
        string log = _fixture.Manager.Events.Path;
        foreach (var (name, autostart) in new[] { ("b", true), ("no", false), ("a", true) })
            _fixture.Manager.Create(Settings(Guests.Loop, name), autostart: autostart);
        using (_fixture.Open())
        using (var pulse = new EventPulse(_fixture.Manager.Events))
            await Until(pulse, () => Running(log).Count == 2);
        Running(log).Should().Equal("b", "a");
        _fixture.Manager.Kill("a");
        using (_fixture.Open())
        {
            // Its end waits for what it began.
        }

        Running(log).Should().Equal("b", "a");
    }

    [SkippableFact]
    public async Task Networks_that_start_with_the_host_are_there_before_its_machines_and_once_a_boot()
    {
        Published.Require();
        var networks = new NetworkStore(_fixture.Options);
        foreach (var (name, subnet) in new[] { ("lab", "10.20.0.0/24"), ("other", "10.20.1.0/24") })
            networks.Define(Encoding.UTF8.GetBytes($"{{\"name\":\"{name}\",\"subnet\":\"{subnet}\"}}"), name);
        networks.SetAutoStart("lab", true);
        await StartWithHost("first");
        networks.Get("lab").Record.Runs.Should().BeTrue();
        networks.Get("other").Record.Runs.Should().BeFalse("nobody asked for it");
        networks.Stop("lab");
        await StartWithHost("second");
        networks.Get("lab").Record.Runs.Should().BeFalse("it was stopped since the host booted");

        // Machines come last: when one runs all networks were seen to.
        async Task StartWithHost(string machine)
        {
            _fixture.Manager.Create(Settings(Guests.Loop, machine), autostart: true);
            using (_fixture.Open())
            using (var pulse = new EventPulse(_fixture.Manager.Events))
                await Until(pulse, () => Running(_fixture.Manager.Events.Path).Contains(machine));
            _fixture.Notices.Should().BeEmpty();
        }
    }

    private static List<string?> Running(string log) => [.. File.ReadLines(log).Select(line => JsonDocument.Parse(line).RootElement)
        .Where(told => told.GetProperty("event").GetString() == "running").Select(told => told.GetProperty("vm").GetString())];

    private static async Task Until(EventPulse pulse, Func<bool> happened)
    {
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        while (true)
        {
            var next = pulse.Next;
            if (happened())
                return;
            await next.WaitAsync(patience.Token);
        }
    }

    private static async Task WaitForText(HttpClient client, string path, string text)
    {
        await using var stream = await client.GetStreamAsync(path);
        await ReadUntil(stream, text);
    }

    private static async Task ReadUntil(Stream stream, string text)
    {
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        var all = new StringBuilder();
        byte[] buffer = new byte[256];
        while (!all.ToString().Contains(text, StringComparison.Ordinal))
        {
            int count = await stream.ReadAsync(buffer, patience.Token);
            count.Should().BePositive($"{text} comes, behind {all}");
            all.Append(Encoding.UTF8.GetString(buffer, 0, count));
        }
    }
}
