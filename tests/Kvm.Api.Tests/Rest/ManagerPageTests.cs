using System.Net;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Tests;
using Kvm.Web.Tests;

namespace Kvm.Api.Tests.Rest;

/// <summary>The page of all machines, in a real browser.</summary>
public sealed class ManagerPageTests : IDisposable
{
    private readonly ManagerFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [SkippableFact]
    public async Task A_machine_is_started_typed_for_paused_and_stopped_by_keys()
    {
        Published.Require();
        _fixture.Manager.Create(ManagerFixture.Settings(Guests.Echo, "echo"));
        _fixture.Manager.Create(ManagerFixture.Settings("/nowhere/vmlinux", "web"));
        using var server = _fixture.Open(webPort: 0);
        await using var chromium = await Chromium.Start();
        var tab = await chromium.Open(server.WebAddress!);
        await tab.Until("document.querySelectorAll('#rows tr').length === 2 && !document.querySelector('#start').disabled");
        (await tab.Text("tr.chosen td")).Should().Be("echo");
        await tab.Press("s");
        await tab.Until("document.querySelector('tr.chosen .state').textContent === 'running' && document.querySelector('#console').textContent.includes('R')");
        await tab.Until("document.querySelectorAll('#exits tr').length > 0 && document.querySelectorAll('#vcpus tr').length === 1 && document.querySelector('#memory').textContent.includes('2 MiB')");
        await tab.Press("c");
        await tab.Type("<b>hi</b>");
        await tab.Press("Enter");
        await tab.Until("document.querySelector('#console').textContent.includes('<b>hi</b>')");
        await tab.Press("Escape");
        await tab.Press("p");
        await tab.Until("document.querySelector('tr.chosen .state').textContent === 'paused' && document.querySelector('#pause').textContent.startsWith('Resume')");
        await tab.Press("p");
        await tab.Until("document.querySelector('tr.chosen .state').textContent === 'running'");
        await tab.Click("#kill");
        await tab.Until("document.querySelector('tr.chosen .state').textContent === 'stopped' && document.querySelector('#events').textContent.includes('kill')");
        _fixture.Manager.Get("echo").End!.How.Should().Be("kill");
        await tab.Press("j");
        await tab.Until("document.querySelector('tr.chosen td').textContent === 'web' && document.querySelector('#machine-title').textContent === 'web'");
        await tab.Press("s");
        await tab.Until("document.querySelector('#message').textContent.includes('web')");
        (await tab.Text("#message")).Should().Contain("/nowhere/vmlinux");
        chromium.Errors.Should().BeEmpty();
    }

    [SkippableFact]
    public async Task The_page_is_readable_in_the_dark_and_on_a_narrow_screen_and_says_when_the_manager_has_ended()
    {
        _fixture.Manager.Create(ManagerFixture.Settings("/nowhere/vmlinux", "web"));
        var server = _fixture.Open(webPort: 0);
        try
        {
            await using var chromium = await Chromium.Start();
            var tab = await chromium.Open(server.WebAddress!, width: 400, height: 800, dark: true);
            await tab.Until("document.querySelectorAll('#rows tr').length === 1");
            (await tab.Evaluate("getComputedStyle(document.body).backgroundColor")).GetString().Should().Be("rgb(22, 24, 28)");
            (await tab.Evaluate("document.documentElement.scrollWidth")).GetInt32().Should().BeLessThanOrEqualTo(400);
            await tab.SetDark(false);
            await tab.Until("getComputedStyle(document.body).backgroundColor === 'rgb(251, 251, 250)'");
            server.Dispose();
            await tab.Until("document.querySelector('#state').textContent === 'the manager has ended'");
        }
        finally
        {
            server.Dispose();
        }
    }

    [Fact]
    public async Task The_page_asks_what_the_API_answers_and_nobody_without_its_token_may()
    {
        _fixture.Manager.Create(ManagerFixture.Settings("/nowhere/vmlinux", "web"));
        using var server = _fixture.Open(webPort: 0);
        using var client = new HttpClient { BaseAddress = new Uri(server.WebAddress!) };
        string token = new Uri(server.WebAddress!).AbsolutePath.Trim('/');
        using (var stranger = await client.PostAsync("api/call", Call("GET", "/vms")))
            stranger.StatusCode.Should().Be(HttpStatusCode.Forbidden);
        client.DefaultRequestHeaders.Add("X-Kvmsharp-Token", token);
        (await Ask("GET", "/vms")).GetProperty("body").GetProperty("vms")[0].GetProperty("name").GetString().Should().Be("web");
        (await Ask("GET", "/vms/nobody")).GetProperty("status").GetInt32().Should().Be(404);
        (await Ask("PUT", "/vms")).GetProperty("body").GetProperty("error").GetProperty("id").GetString().Should().Be("KVM0701");
        (await Ask("GET", "/vms/web/logs?tail=10")).GetProperty("body").GetString().Should().BeEmpty();
        (await Ask("GET", "/metrics")).GetProperty("body").GetString().Should().Contain("kvmsharp_vms");
        (await Ask("DELETE", "/vms/web")).GetProperty("status").GetInt32().Should().Be(204);
        _fixture.Manager.List().Should().BeEmpty();
        using var other = await client.PostAsync("api/call", ManagerFixture.Json("{\"method\":1}"));
        other.StatusCode.Should().Be(HttpStatusCode.BadRequest);

        async Task<JsonElement> Ask(string method, string path)
        {
            using var answer = await client.PostAsync("api/call", Call(method, path));
            string text = await answer.Content.ReadAsStringAsync();
            answer.StatusCode.Should().Be(HttpStatusCode.OK, text);
            return JsonDocument.Parse(text).RootElement;
        }

        static StringContent Call(string method, string path) => new($"{{\"method\":\"{method}\",\"path\":\"{path}\"}}", Encoding.UTF8, "application/json");
    }
}
