using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Kvm.Api.Http;
using Kvm.Api.Rest;
using Kvm.Cli.Tests;
using Microsoft.OpenApi;
using static Kvm.Api.Tests.Rest.ManagerFixture;
using Document = Microsoft.OpenApi.OpenApiDocument;

namespace Kvm.Api.Tests.Rest;

/// <summary>The OpenAPI document is right by a reader of such documents, and every route answers what it says.</summary>
public sealed partial class OpenApiTests : IDisposable
{
    private readonly ManagerFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task The_document_is_read_without_a_complaint_and_has_every_route()
    {
        using var client = _fixture.Serve();
        var (document, diagnostic) = Document.Parse(await client.GetStringAsync("/openapi.json"), "json");
        diagnostic!.Errors.Should().BeEmpty();
        diagnostic.Warnings.Should().BeEmpty();
        diagnostic.SpecificationVersion.Should().Be(OpenApiSpecVersion.OpenApi3_1);
        document!.Info.Version.Should().Be("1.2.3");
        var told = document.Paths.SelectMany(path => path.Value.Operations!.Select(operation => $"{operation.Key.Method} {path.Key}"));
        told.Should().BeEquivalentTo(Table().Routes.Select(route => $"{route.Method} {route.Template}"));
        var ids = document.Paths.SelectMany(path => path.Value.Operations!.Values).Select(operation => operation.OperationId);
        ids.Should().OnlyHaveUniqueItems().And.Contain("postVmsNameStart").And.Contain("getOpenapiJson");
        var create = document.Paths["/vms"].Operations![HttpMethod.Post];
        create.RequestBody!.Content!["application/json"].Schema!.Properties!.Keys.Should().Equal("config", "name", "restart", "autostart", "shared");
        create.RequestBody.Content["application/json"].Schema!.Required.Should().Equal("config");
        document.Paths["/operations/{id}"].Operations![HttpMethod.Get].Parameters!.Select(parameter => $"{parameter.In} {parameter.Name}").Should().Equal("Path id", "Query wait");
    }

    [SkippableFact]
    public async Task Every_route_answers_what_the_document_says()
    {
        Published.Require();
        using var client = _fixture.Serve();
        var left = Table().Routes.ToDictionary(route => $"{route.Method} {route.Template}");
        await Ask("GET", "/version");
        await Ask("GET", "/openapi.json");
        await Ask("POST", "/vms", NewVm("web", Guests.Echo));
        await Ask("GET", "/vms");
        await Finish("POST", "/vms/web/start");
        await Ask("GET", "/vms/web");
        await Ask("GET", "/vms/web/map");
        await Ask("GET", "/vms/web/stats");
        await Ask("GET", "/metrics");
        await Ask("GET", "/schedule");
        await Ask("GET", "/events?past");
        await Ask("GET", "/vms/web/console");
        await Ask("POST", "/vms/web/console", new ByteArrayContent("x"u8.ToArray()));
        await Finish("POST", "/vms/web/pause");
        await Finish("POST", "/vms/web/resume");
        await Finish("POST", "/snapshots", Json("{\"vm\":\"web\",\"name\":\"first\"}"));
        await Ask("GET", "/snapshots");
        await Ask("GET", "/snapshots/first");
        await Ask("DELETE", "/snapshots/first");
        await Finish("POST", "/vms/web/kill");
        await Finish("POST", "/vms/web/start");
        await Finish("POST", "/vms/web/stop", Json("{\"timeoutMs\":0}"));
        await Ask("GET", "/vms/web/logs");
        await Ask("GET", "/vms/web");
        await Ask("GET", "/operations");
        await Ask("GET", "/operations/c1");
        await Ask("DELETE", "/operations/c1");
        await Ask("DELETE", "/vms/web");
        string folder = Directory.CreateDirectory(Path.Combine(_fixture.Options.RuntimeFolder, "pool")).FullName;
        await Ask("POST", "/pools", Json($"{{\"name\":\"fast\",\"folders\":[\"{folder}\"]}}"));
        await Ask("POST", "/pools/fast/volumes", Json("{\"name\":\"disk\",\"size\":1048576}"));
        await Ask("POST", "/pools/fast/volumes/disk/snapshots", Json("{\"name\":\"monday\"}"));
        await Ask("POST", "/pools/fast/volumes", Json("{\"name\":\"copy\",\"from\":\"disk@monday\"}"));
        await Ask("POST", "/pools/fast/volumes/disk/restore", Json("{\"name\":\"monday\"}"));
        await Ask("GET", "/pools");
        await Ask("GET", "/pools/fast");
        foreach (string volume in (string[])["copy", "disk@monday", "disk"])
            await Ask("DELETE", $"/pools/fast/volumes/{volume}");
        await Ask("DELETE", "/pools/fast");
        await Ask("POST", "/networks", Json("{\"name\":\"lab\",\"subnet\":\"10.20.0.0/24\"}"));
        await Ask("POST", "/networks/lab/autostart", Json("{\"on\":true}"));
        await Ask("POST", "/networks/lab/start");
        await Ask("GET", "/networks");
        await Ask("GET", "/networks/lab");
        await Ask("POST", "/networks/lab/stop");
        await Ask("DELETE", "/networks/lab");
        left.Keys.Should().BeEmpty("every route is asked here");

        async Task Finish(string method, string path, HttpContent? body = null)
        {
            using var accepted = await Ask(method, path, body);
            (await Ended(client, accepted)).GetProperty("state").GetString().Should().Be("done", path);
        }

        async Task<HttpResponseMessage> Ask(string method, string path, HttpContent? body = null)
        {
            var route = Table().Find(method, path.Split('?')[0], out _);
            left.Remove($"{route.Method} {route.Template}");
            using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body };
            var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            bool streams = route.Gives?.MediaType is "text/event-stream" or "application/octet-stream";
            string text = streams ? "" : await answer.Content.ReadAsStringAsync();
            ((int)answer.StatusCode).Should().Be(route.Status, $"{method} {path}: {text}");
            answer.Content.Headers.ContentType?.ToString().Should().Be(route.Gives?.MediaType);
            if (streams)
                answer.Dispose();
            if (route.Gives?.Form is { } form)
                JsonSerializer.Deserialize(text, form.Type, s_strict).Should().NotBeNull();
            return answer;
        }
    }

    [SkippableFact]
    public async Task The_metrics_are_in_the_format_of_Prometheus_and_tell_of_each_machine()
    {
        Published.Require();
        using var client = _fixture.Serve();
        await client.PostAsync("/vms", NewVm("a.b-c_1", Guests.Echo));
        await client.PostAsync("/vms", NewVm("idle"));
        await Do(client, "/vms/a.b-c_1/start");
        string text = await client.GetStringAsync("/metrics");
        Dictionary<string, string> types = [];
        HashSet<string> samples = [];
        foreach (string line in text.Split('\n')[..^1])
        {
            if (Comment().Match(line) is { Success: true } comment)
            {
                if (comment.Groups[1].Value == "TYPE")
                    types.Add(comment.Groups[2].Value, comment.Groups[3].Value);
                continue;
            }

            var sample = Sample().Match(line);
            sample.Success.Should().BeTrue(line);
            types.Should().ContainKey(sample.Groups[1].Value, "a family's type comes before its samples");
            samples.Add(sample.Groups[1].Value + sample.Groups[2].Value).Should().BeTrue($"{line} is there once");
            types[sample.Groups[1].Value].Should().Be(sample.Groups[1].Value.EndsWith("_total", StringComparison.Ordinal) ? "counter" : "gauge");
        }

        text.Should().EndWith("\n").And.Contain("kvmsharp_vms{state=\"running\"} 1\n").And.Contain("kvmsharp_vms{state=\"created\"} 1\n");
        samples.Should().Contain("kvmsharp_vm_cpu_seconds_total{vm=\"a.b-c_1\",vcpu=\"0\"}").And.Contain("kvmsharp_vm_resident_memory_bytes{vm=\"a.b-c_1\"}").And.Contain("kvmsharp_event_gaps_total");
        samples.Should().Contain(sample => sample.StartsWith("kvmsharp_vm_exits_total{vm=\"a.b-c_1\",reason=\"", StringComparison.Ordinal));
    }

    private RouteTable Table()
    {
        using var services = new RestServices(_fixture.Options, new VersionForm("", "", false, 0));
        return ManagerServer.TableOf(services);
    }

    private static readonly JsonSerializerOptions s_strict = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    [GeneratedRegex("^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$")]
    private static partial Regex Comment();

    /// <summary>A name, labels with a value in quotes each, a number.</summary>
    [GeneratedRegex("""^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*\})? -?[0-9.]+(?:E[+-]?[0-9]+)?$""")]
    private static partial Regex Sample();
}
