using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Text;

namespace Kvm.Web.Tests;

/// <summary>Who may ask, and what is answered.</summary>
public sealed class LoopbackSiteTests : IDisposable
{
    private readonly EventFeed _feed = new();
    private readonly LoopbackSite _site;
    private readonly HttpClient _client = new() { Timeout = Raw.Patience };
    private readonly string _token;
    private readonly string _host;
    private int _commands;

    public LoopbackSiteTests()
    {
        _site = LoopbackSite.Open("trace", 0, _feed, (command, arguments, _) =>
        {
            Interlocked.Increment(ref _commands);
            return Task.FromResult(new PageAnswer(Encoding.UTF8.GetBytes($"{{\"command\":\"{command}\",\"got\":{arguments.GetRawText()}}}")));
        });
        var address = new Uri(_site.Address);
        (_token, _host) = (address.AbsolutePath.Trim('/'), address.Authority);
    }

    public void Dispose()
    {
        _client.Dispose();
        _site.Dispose();
    }

    [Fact]
    public async Task The_address_that_is_printed_gives_the_page_and_forbids_what_it_does_not_need()
    {
        _site.Address.Should().MatchRegex("^http://127\\.0\\.0\\.1:[0-9]+/[0-9a-f]{32}/$");
        using var answer = await _client.GetAsync(_site.Address);
        answer.StatusCode.Should().Be(HttpStatusCode.OK);
        answer.Content.Headers.ContentType!.ToString().Should().Be("text/html; charset=utf-8");
        string policy = answer.Headers.GetValues("Content-Security-Policy").Single();
        policy.Should().Contain("default-src 'none'").And.Contain("script-src 'self';").And.Contain("frame-ancestors 'none'").And.NotContain("unsafe");
        answer.Headers.CacheControl!.NoStore.Should().BeTrue();
        answer.Headers.GetValues("Referrer-Policy").Single().Should().Be("no-referrer");
        answer.Headers.GetValues("X-Content-Type-Options").Single().Should().Be("nosniff");
        answer.Headers.Contains("Server").Should().BeFalse();
    }

    [Theory]
    [InlineData("trace.html", "text/html")]
    [InlineData("view.css", "text/css")]
    [InlineData("trace.js", "text/javascript")]
    [InlineData("feed.js", "text/javascript")]
    public async Task A_file_of_the_page_comes_with_its_type(string name, string type)
    {
        using var answer = await _client.GetAsync(_site.Address + name);
        answer.StatusCode.Should().Be(HttpStatusCode.OK);
        answer.Content.Headers.ContentType!.MediaType.Should().Be(type);
        (await answer.Content.ReadAsByteArrayAsync()).Should().NotBeEmpty();
    }

    [Theory]
    [InlineData("nothing.js")]
    [InlineData("..%2f..%2fetc%2fpasswd")]
    [InlineData("%2e%2e/trace.js")]
    [InlineData("Kvm.Web.dll")]
    [InlineData("api/other")]
    public async Task What_is_not_there_is_not_found_or_refused(string name)
    {
        using var answer = await _client.GetAsync(_site.Address + name);
        ((int)answer.StatusCode).Should().BeOneOf(403, 404);
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/trace.js")]
    [InlineData("/0123456789abcdef0123456789abcdef/")]
    [InlineData("/0123456789abcdef0123456789abcdef/api/events")]
    [InlineData("//")]
    [InlineData("/{token}")]
    [InlineData("/{token}0/")]
    [InlineData("/%00/")]
    public async Task Without_the_token_nothing_is_answered(string path)
    {
        var (status, text) = await Raw.Send(_site.Address, $"GET {path.Replace("{token}", _token)} HTTP/1.1\r\nHost: {_host}\r\nConnection: close\r\n\r\n");
        status.Should().BeOneOf(400, 403);
        text.Should().NotContain("<!doctype").And.NotContain(_token);
    }

    [Theory]
    [InlineData("evil.example")]
    [InlineData("evil.example:{port}")]
    [InlineData("127.0.0.1:1")]
    [InlineData("127.0.0.1")]
    [InlineData("[::1]:{port}")]
    [InlineData("127.0.0.1.evil.example:{port}")]
    public async Task A_name_that_somebody_else_made_lead_here_is_refused(string host)
    {
        string named = host.Replace("{port}", _host.Split(':')[1]);
        foreach (string path in (string[])["", "trace.js", "api/events"])
        {
            var (status, _) = await Raw.Send(_site.Address, $"GET /{_token}/{path} HTTP/1.1\r\nHost: {named}\r\nX-Kvmsharp-Token: {_token}\r\nConnection: close\r\n\r\n");
            status.Should().Be(403, path);
        }
    }

    [Theory]
    [InlineData("Origin: http://evil.example", 403)]
    [InlineData("Origin: null", 403)]
    [InlineData("Origin: http://127.0.0.1:1", 403)]
    [InlineData("Origin: https://{host}", 403)]
    [InlineData("Sec-Fetch-Site: cross-site", 403)]
    [InlineData("Sec-Fetch-Site: same-site", 403)]
    [InlineData("Origin: http://{host}", 200)]
    [InlineData("Sec-Fetch-Site: same-origin", 200)]
    public async Task Another_page_may_not_command(string header, int expected)
    {
        var (status, text) = await Raw.Send(_site.Address,
            $"POST /{_token}/api/stop HTTP/1.1\r\nHost: {_host}\r\nX-Kvmsharp-Token: {_token}\r\n{header.Replace("{host}", _host)}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        status.Should().Be(expected);
        Volatile.Read(ref _commands).Should().Be(expected == 200 ? 1 : 0);
        text.Should().NotContain("Access-Control-Allow");
    }

    [Theory]
    [InlineData("")]
    [InlineData("0123456789abcdef0123456789abcdef")]
    [InlineData("x")]
    public async Task Commands_and_events_want_the_token_as_a_header_too(string token)
    {
        foreach (string request in (string[])["GET", "POST"])
        {
            var (status, _) = await Raw.Send(_site.Address,
                $"{request} /{_token}/api/{(request == "GET" ? "events" : "stop")} HTTP/1.1\r\nHost: {_host}\r\nX-Kvmsharp-Token: {token}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
            status.Should().Be(403);
        }

        _commands.Should().Be(0);
    }

    [Fact]
    public async Task A_command_is_done_and_answered()
    {
        var (status, text) = await Command("walk", "{\"address\":\"0x10\"}");
        status.Should().Be(HttpStatusCode.OK);
        text.Should().Be("{\"command\":\"walk\",\"got\":{\"address\":\"0x10\"}}");
    }

    [Theory]
    [InlineData("[]", 400)]
    [InlineData("1", 400)]
    [InlineData("", 400)]
    [InlineData("{\"a\":", 400)]
    [InlineData("{\"a\":[[[[[[[[[[1]]]]]]]]]]}", 400)]
    public async Task A_command_without_an_object_is_refused(string body, int expected)
    {
        var (status, _) = await Command("stop", body);
        ((int)status).Should().Be(expected);
        _commands.Should().Be(0);
    }

    [Theory]
    [InlineData("two words")]
    [InlineData("Stop1")]
    [InlineData("abcdefghijklmnopqrstuvwxyzabcdefg")]
    public async Task A_command_of_another_form_does_not_exist(string name)
    {
        var (status, _) = await Command(Uri.EscapeDataString(name), "{}");
        status.Should().Be(HttpStatusCode.NotFound);
        _commands.Should().Be(0);
    }

    [Fact]
    public async Task A_body_of_a_megabyte_is_refused()
    {
        var (status, _) = await Raw.Send(_site.Address,
            $"POST /{_token}/api/stop HTTP/1.1\r\nHost: {_host}\r\nX-Kvmsharp-Token: {_token}\r\nContent-Length: 1048576\r\nConnection: close\r\n\r\n{{\"a\":\"");
        status.Should().Be(413);
        _commands.Should().Be(0);
    }

    [Fact]
    public async Task A_chunked_body_of_a_megabyte_is_refused()
    {
        string chunk = $"8000\r\n{new string('x', 0x8000)}\r\n";
        var (status, _) = await Raw.Send(_site.Address,
            $"POST /{_token}/api/stop HTTP/1.1\r\nHost: {_host}\r\nX-Kvmsharp-Token: {_token}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n7\r\n{{\"a\":\"\"\r\n{chunk}{chunk}{chunk}");
        status.Should().BeOneOf(400, 413);
        _commands.Should().Be(0);
    }

    [Fact]
    public async Task A_request_line_or_header_of_a_megabyte_is_refused()
    {
        var (line, _) = await Raw.Send(_site.Address, $"GET /{_token}/{new string('a', 8 << 10)} HTTP/1.1\r\nHost: {_host}\r\n\r\n");
        line.Should().Be(414);
        var (header, _) = await Raw.Send(_site.Address, $"GET /{_token}/ HTTP/1.1\r\nHost: {_host}\r\nX-Long: {new string('a', 20 << 10)}\r\n\r\n");
        header.Should().Be(431);
    }

    [Theory]
    [InlineData("PUT", "api/stop", 405)]
    [InlineData("DELETE", "", 405)]
    [InlineData("OPTIONS", "api/stop", 405)]
    [InlineData("POST", "", 405)]
    public async Task Other_methods_are_refused(string method, string path, int expected)
    {
        var (status, _) = await Raw.Send(_site.Address,
            $"{method} /{_token}/{path} HTTP/1.1\r\nHost: {_host}\r\nX-Kvmsharp-Token: {_token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        status.Should().Be(expected);
    }

    [Fact]
    public void It_listens_on_the_loopback_alone()
    {
        int port = new Uri(_site.Address).Port;
        IPGlobalProperties.GetIPGlobalProperties().GetActiveTcpListeners().Where(listener => listener.Port == port)
            .Should().OnlyContain(listener => listener.Address.Equals(IPAddress.Loopback)).And.NotBeEmpty();
    }

    [Fact]
    public void A_taken_port_is_told()
    {
        Action open = () => LoopbackSite.Open("trace", new Uri(_site.Address).Port, new EventFeed(), (_, _, _) => Task.FromResult(new PageAnswer([]))).Dispose();
        open.Should().Throw<IOException>();
    }

    [Fact]
    public void Two_sites_have_different_tokens()
    {
        using var other = LoopbackSite.Open("trace", 0, new EventFeed(), (_, _, _) => Task.FromResult(new PageAnswer([])));
        new Uri(other.Address).AbsolutePath.Should().NotBe(new Uri(_site.Address).AbsolutePath);
    }

    [Fact]
    public async Task A_closed_site_ends_its_streams_and_listens_no_more()
    {
        var site = LoopbackSite.Open("trace", 0, new EventFeed(), (_, _, _) => Task.FromResult(new PageAnswer([])));
        var address = new Uri(site.Address);
        using var socket = await Raw.Connect(site.Address);
        string token = address.AbsolutePath.Trim('/');
        await socket.SendAsync(Encoding.ASCII.GetBytes($"GET /{token}/api/events HTTP/1.1\r\nHost: {address.Authority}\r\nX-Kvmsharp-Token: {token}\r\n\r\n"));
        var first = new byte[1];
        await socket.ReceiveAsync(first);
        site.Dispose();
        await Raw.ReadToEnd(socket);
        Func<Task> again = () => Raw.Connect(site.Address);
        await again.Should().ThrowAsync<SocketException>();
    }

    private async Task<(HttpStatusCode Status, string Text)> Command(string name, string body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{_site.Address}api/{name}") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        request.Headers.Add("X-Kvmsharp-Token", _token);
        using var answer = await _client.SendAsync(request);
        return (answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }
}
