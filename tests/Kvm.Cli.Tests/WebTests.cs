using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json;
using Kvm.Web.Tests;

namespace Kvm.Cli.Tests;

/// <summary>The pages of <c>--web</c> from the executable: served, asked, ended.</summary>
public sealed class WebTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly HttpClient _client = new() { Timeout = s_patience };

    public void Dispose() => _client.Dispose();

    [SkippableFact]
    public async Task A_guest_starts_when_its_page_is_read_and_the_page_outlives_it()
    {
        Published.Require();
        var program = Published.Start("trace", Guests.Six, "--engine", "soft", "--web", "--console", "none");
        string address = Address(program);
        var events = await Events(address, name => name == "state", text => text.Contains("\"ended\"", StringComparison.Ordinal));
        events.Should().Contain(e => e.Kind == "about" && e.Json.GetProperty("engine").GetString() == "soft");
        events.Should().Contain(e => e.Kind == "memory");
        events.Should().Contain(e => e.Kind == "state" && e.Json.GetProperty("state").GetString() == "running");
        // Again, now that it has ended: what happened is kept.
        events = await Events(address, name => name == "console", _ => true);
        events.Single(e => e.Kind == "console").Json.GetProperty("text").GetString().Should().Be("!");
        events.Where(e => e.Kind == "exits").SelectMany(e => e.Json.EnumerateArray()).Should().Contain(exit => exit.GetProperty("did").GetString()!.StartsWith("wrote 0x21 '!' to port 0x3f8", StringComparison.Ordinal));
        (await Ask(address, "walk", "{\"address\":\"0\"}")).Text.Should().Contain("no guest runs");
        (await Ask(address, "quit", "{}")).Status.Should().Be(HttpStatusCode.OK);
        Published.Finish(program).ExitCode.Should().Be(0, "that is what the guest wrote to the debug-exit port");
    }

    [SkippableFact]
    public async Task A_guest_that_runs_is_stopped_looked_at_and_goes_on()
    {
        Published.Require();
        var program = Published.Start("trace", Guests.Loop, "--engine", "soft", "--web", "--console", "none");
        string address = Address(program);
        await Events(address, name => name == "state", text => text.Contains("\"running\"", StringComparison.Ordinal));
        (await Ask(address, "step", "{}")).Text.Should().Contain("the guest runs: stop it first");
        (await Ask(address, "walk", "{\"address\":\"0x100000\"}")).Json.GetProperty("physical").GetString().Should().Be("0x100000");
        (await Ask(address, "stop", "{}")).Status.Should().Be(HttpStatusCode.OK);
        string before = (await Ask(address, "registers", "{}")).Text;
        (await Ask(address, "registers", "{}")).Text.Should().Be(before, "the guest stands still");
        (await Ask(address, "step", "{\"vcpu\":0}")).Status.Should().Be(HttpStatusCode.OK);
        (await Ask(address, "registers", "{\"vcpu\":7}")).Text.Should().Contain("there is no vCPU 7");
        (await Ask(address, "walk", "{\"address\":\"no\"}")).Text.Should().Contain("that is no address");
        (await Ask(address, "dance", "{}")).Text.Should().Contain("there is no such command");
        (await Ask(address, "continue", "{}")).Status.Should().Be(HttpStatusCode.OK);
        Published.Signal(program, 2);
        Published.Finish(program).ExitCode.Should().Be(130);
    }

    [SkippableFact]
    public async Task A_guest_that_floods_its_console_waits_for_no_page()
    {
        Published.Require();
        var program = Published.Start("trace", Guests.Flood, "--engine", "soft", "--web", "--console", "none");
        string address = Address(program);
        // Exits come faster than a page is told: some are left away, and their number grows.
        var events = await Events(address, name => name == "lost", text => long.Parse(text, System.Globalization.CultureInfo.InvariantCulture) > 100_000);
        events.Should().Contain(e => e.Kind == "exits").And.Contain(e => e.Kind == "schedule").And.Contain(e => e.Kind == "counts");
        (await Ask(address, "quit", "{}")).Status.Should().Be(HttpStatusCode.OK);
        Published.Finish(program).ExitCode.Should().Be(0, "the page ended it as Ctrl-A x does");
    }

    [SkippableFact]
    public void Signals_end_the_wait_for_a_page()
    {
        Published.Require();
        foreach (var words in (string[][])[["trace", Guests.Loop, "--engine", "soft", "--web"], ["lab", "step", "1", "--engine", "soft", "--web"]])
        {
            var program = Published.Start(words);
            Address(program);
            Published.Signal(program, 15);
            Published.Finish(program).ExitCode.Should().Be(143);
        }
    }

    [SkippableFact]
    public async Task A_recorded_trace_is_shown()
    {
        Published.Require();
        string file = Path.Combine(Path.GetTempPath(), $"kvmsharp-web-{Environment.ProcessId}.trace");
        try
        {
            Published.Run("trace", Guests.Six, "--engine", "soft", "--format", "binary", "--output", file).ExitCode.Should().Be(0);
            var program = Published.Start("trace", "--replay", file, "--web");
            string address = Address(program);
            var events = await Events(address, name => name == "exits", _ => true);
            events.Should().Contain(e => e.Kind == "about" && e.Json.GetProperty("mode").GetString() == "replay");
            events.Where(e => e.Kind == "exits").SelectMany(e => e.Json.EnumerateArray()).Should().HaveCount(2);
            Published.Signal(program, 2);
            Published.Finish(program).ExitCode.Should().Be(0);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [SkippableFact]
    public async Task A_lab_is_stepped_by_commands()
    {
        Published.Require();
        var program = Published.Start("lab", "step", "1", "--engine", "soft", "--web");
        string address = Address(program);
        var view = (await Events(address, name => name == "view", _ => true)).Last(e => e.Kind == "view").Json;
        view.GetProperty("steps").GetInt64().Should().Be(0);
        (await Ask(address, "step", "{}")).Status.Should().Be(HttpStatusCode.OK);
        (await Ask(address, "step", "{}")).Status.Should().Be(HttpStatusCode.OK);
        (await Ask(address, "back", "{}")).Status.Should().Be(HttpStatusCode.OK);
        view = (await Events(address, name => name == "view", _ => true)).Last(e => e.Kind == "view").Json;
        view.GetProperty("steps").GetInt64().Should().Be(1);
        (await Ask(address, "end", "{}")).Status.Should().Be(HttpStatusCode.OK);
        view = (await Events(address, name => name == "view", _ => true)).Last(e => e.Kind == "view").Json;
        view.GetProperty("end").GetString().Should().NotBeNullOrEmpty();
        view.GetProperty("recent").GetArrayLength().Should().BePositive();
        (await Ask(address, "memory", "{\"address\":\"7c00\"}")).Json.GetProperty("bytes").GetString().Should().HaveLength(512);
        (await Ask(address, "walk", "{\"address\":\"7c00\"}")).Json.GetProperty("paging").GetBoolean().Should().BeFalse();
        (await Ask(address, "memory", "{\"address\":\"ffffffffffff0000\"}")).Json.GetProperty("bytes").GetString().Should().BeEmpty();
        (await Ask(address, "restart", "{}")).Status.Should().Be(HttpStatusCode.OK);
        (await Ask(address, "quit", "{}")).Status.Should().Be(HttpStatusCode.OK);
        Published.Finish(program).ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public async Task A_lab_is_clicked_through_in_a_browser()
    {
        Published.Require();
        await using var chromium = await Chromium.Start();
        var program = Published.Start("lab", "step", "5", "--engine", "soft", "--web");
        var tab = await chromium.Open(Address(program));
        await tab.Until("document.querySelector('.code .current')");
        string first = await tab.Text(".code .current");
        await tab.Click("#step");
        await tab.Until("document.querySelector('#state').textContent.includes('after 1 step')");
        (await tab.Text(".code .current")).Should().NotBe(first);
        await tab.Press("s");
        await tab.Press("s");
        await tab.Until("document.querySelector('#state').textContent.includes('after 3 steps')");
        await tab.Press("b");
        await tab.Until("document.querySelector('#state').textContent.includes('after 2 steps')");
        await tab.Press("c");
        await tab.Until("document.querySelectorAll('#rows tr').length > 0");
        await tab.Press("g");
        await tab.Type("8000");
        await tab.Press("Enter");
        await tab.Until("document.querySelectorAll('.walk li').length === 5");
        (await tab.Text(".walk")).Should().Contain("PML4[0]").And.Contain("PD[0]").And.Contain("large page").And.Contain("physical 0x8000");
        await tab.Click("#restart");
        await tab.Until("document.querySelector('#state').textContent.includes('after 0 steps') && document.querySelector('#back').disabled");
        (await tab.Text(".code .current")).Should().Be(first);
        chromium.Errors.Should().BeEmpty();
        await tab.Click("#quit");
        Published.Finish(program).ExitCode.Should().Be(0);
    }

    [SkippableTheory]
    [InlineData("trace|{six}|--web|--format|json", 2, "KVM0005")]
    [InlineData("trace|{six}|--web|--output|x", 2, "KVM0005")]
    [InlineData("trace|{six}|--web|--json", 2, "KVM0005")]
    [InlineData("trace|{six}|--web|--gdb|0", 2, "KVM0005")]
    [InlineData("trace|{six}|--web=65536", 2, "KVM0003")]
    [InlineData("trace|{six}|--web=abc", 2, "KVM0003")]
    [InlineData("trace|--replay|/nonexistent|--web", 3, "KVM0028")]
    [InlineData("lab|step|1|--web|--json", 2, "KVM0005")]
    [InlineData("lab|step|13|--web", 2, "KVM0042")]
    public void What_cannot_be_shown_is_told(string words, int exitCode, string id)
    {
        Published.Require();
        Published.Run([.. words.Replace("{six}", Guests.Six, StringComparison.Ordinal).Split('|')]).ShouldFail(exitCode, id);
    }

    [SkippableFact]
    public void A_taken_port_is_told()
    {
        Published.Require();
        using var taken = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        int port = ((IPEndPoint)taken.LocalEndpoint).Port;
        Published.Run("lab", "step", "1", $"--web={port}").ShouldFail(1, "KVM0009", $"port {port} of 127.0.0.1");
    }

    /// <summary>The address on standard error, which comes before anything else is asked.</summary>
    private static string Address(Process program)
    {
        while (program.StandardError.ReadLine() is { } line)
        {
            if (line.IndexOf("http://", StringComparison.Ordinal) is >= 0 and var at)
                return line[at..];
        }

        throw new InvalidOperationException("the program ended without an address");
    }

    /// <summary>Reads events up to the first of a kind that fits.</summary>
    private async Task<List<(string Kind, JsonElement Json)>> Events(string address, Func<string, bool> kind, Func<string, bool> fits)
    {
        using var request = Request(HttpMethod.Get, address, "events");
        using var answer = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        answer.StatusCode.Should().Be(HttpStatusCode.OK);
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(), Encoding.UTF8);
        using var patience = new CancellationTokenSource(s_patience);
        var events = new List<(string, JsonElement)>();
        string name = "";
        while (await reader.ReadLineAsync(patience.Token) is { } line)
        {
            if (line.StartsWith("event: ", StringComparison.Ordinal))
                name = line[7..];
            if (!line.StartsWith("data: ", StringComparison.Ordinal))
                continue;
            events.Add((name, JsonDocument.Parse(line[6..]).RootElement));
            if (kind(name) && fits(line[6..]))
                return events;
        }

        throw new InvalidOperationException($"the events ended: {string.Join(' ', events.Select(e => e.Item1))}");
    }

    private async Task<(HttpStatusCode Status, string Text, JsonElement Json)> Ask(string address, string command, string arguments)
    {
        using var request = Request(HttpMethod.Post, address, command);
        request.Content = new StringContent(arguments, Encoding.UTF8, "application/json");
        using var answer = await _client.SendAsync(request);
        string text = await answer.Content.ReadAsStringAsync();
        return (answer.StatusCode, text, answer.StatusCode == HttpStatusCode.OK ? JsonDocument.Parse(text).RootElement : default);
    }

    private static HttpRequestMessage Request(HttpMethod method, string address, string name)
    {
        var request = new HttpRequestMessage(method, $"{address}api/{name}");
        request.Headers.Add("X-Kvmsharp-Token", new Uri(address).AbsolutePath.Trim('/'));
        return request;
    }
}
