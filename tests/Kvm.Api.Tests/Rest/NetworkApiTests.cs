using System.Net;
using System.Text.Json;
using Kvm.Cli.Tests;
using static Kvm.Api.Tests.Rest.ManagerFixture;

namespace Kvm.Api.Tests.Rest;

/// <summary>Networks by the manager's API.</summary>
public sealed class NetworkApiTests : IDisposable
{
    private readonly ManagerFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [SkippableFact]
    public async Task A_network_is_defined_started_asked_who_has_its_addresses_stopped_and_removed()
    {
        Published.Require();
        using var client = _fixture.Serve();
        (await Define(client, "lab", "10.20.0.0/24")).Should().Be(HttpStatusCode.Created);
        var defined = await Get(client, "/networks/lab");
        (Text(defined, "state"), Text(defined, "subnet")).Should().Be(("stopped", "10.20.0.0/24"));
        defined.GetProperty("leases").ValueKind.Should().Be(JsonValueKind.Null);

        (await Post(client, "/networks/lab/start")).Should().Be(HttpStatusCode.OK);
        var started = await Get(client, "/networks/lab");
        Text(started, "state").Should().Be("running");
        started.GetProperty("process").GetInt32().Should().BePositive();
        var lease = started.GetProperty("leases").EnumerateArray().Should().ContainSingle().Subject;
        (Text(lease, "name"), Text(lease, "address"), lease.GetProperty("static").GetBoolean(), lease.GetProperty("attached").GetBoolean()).Should().Be(("web1", "10.20.0.1", true, false));
        started.GetProperty("counters").ValueKind.Should().Be(JsonValueKind.Object);
        (await Post(client, "/networks/lab/start")).Should().Be(HttpStatusCode.Conflict);
        (await Define(client, "lab", "10.21.0.0/24")).Should().Be(HttpStatusCode.Conflict);
        (await client.DeleteAsync("/networks/lab")).StatusCode.Should().Be(HttpStatusCode.Conflict);

        (await Post(client, "/networks/lab/stop")).Should().Be(HttpStatusCode.OK);
        Text(await Get(client, "/networks/lab"), "state").Should().Be("stopped");
        (await Post(client, "/networks/lab/stop")).Should().Be(HttpStatusCode.Conflict);
        (await client.DeleteAsync("/networks/lab")).StatusCode.Should().Be(HttpStatusCode.NoContent);
        (await client.GetAsync("/networks/lab")).StatusCode.Should().Be(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_network_is_marked_to_start_with_the_host_and_is_not_any_more()
    {
        using var client = _fixture.Serve();
        await Define(client, "lab", "10.20.0.0/24");
        foreach (var (body, on) in new (string?, bool)[] { (null, true), ("{\"on\":false}", false), ("{\"on\":true}", true) })
        {
            (await Post(client, "/networks/lab/autostart", body)).Should().Be(HttpStatusCode.OK);
            (await Get(client, "/networks")).GetProperty("networks").EnumerateArray().Should().ContainSingle().Which.GetProperty("autostart").GetBoolean().Should().Be(on);
        }

        (await Post(client, "/networks/lab/autostart", "{\"on\":1}")).Should().Be(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task What_is_no_network_is_refused_by_its_error_and_nothing_is_kept()
    {
        using var client = _fixture.Serve();
        (await Define(client, "lab", "10.20.0.0/24")).Should().Be(HttpStatusCode.Created);
        await Refused("/networks", "{\"name\":\"over\",\"subnet\":\"10.20.0.0/16\"}", HttpStatusCode.Conflict, "KVM0662");
        await Refused("/networks", "{\"name\":\"wrong\",\"subnett\":\"10.20.0.0/24\"}", HttpStatusCode.BadRequest, "KVM0190");
        await Refused("/networks", "{\"name\":\"../up\",\"subnet\":\"10.1.0.0/24\"}", HttpStatusCode.BadRequest, "KVM0190");
        await Refused("/networks/%2e%2e%2fup/start", null, HttpStatusCode.NotFound, "KVM0660");
        await Refused("/networks/lap/start", null, HttpStatusCode.NotFound, "KVM0660");
        (await Get(client, "/networks")).GetProperty("networks").GetArrayLength().Should().Be(1);

        async Task Refused(string path, string? body, HttpStatusCode status, string id)
        {
            using var answer = await client.PostAsync(path, body is null ? null : Json(body));
            string text = await answer.Content.ReadAsStringAsync();
            answer.StatusCode.Should().Be(status, text);
            JsonDocument.Parse(text).RootElement.GetProperty("error").GetProperty("id").GetString().Should().Be(id);
        }
    }

    private static string? Text(JsonElement element, string member) => element.GetProperty(member).GetString();

    private static Task<HttpStatusCode> Define(HttpClient client, string name, string subnet) => Post(client, "/networks", $"{{\"name\":\"{name}\",\"subnet\":\"{subnet}\",\"machines\":[{{\"name\":\"web1\"}}]}}");

    private static async Task<HttpStatusCode> Post(HttpClient client, string path, string? body = null)
    {
        using var answer = await client.PostAsync(path, body is null ? null : Json(body));
        return answer.StatusCode;
    }
}
