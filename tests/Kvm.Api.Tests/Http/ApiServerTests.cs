using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Kvm.Api.Http;
using Kvm.Vmm;

namespace Kvm.Api.Tests.Http;

/// <summary>What a server does with requests and clients, whatever its routes.</summary>
public sealed partial class ApiServerTests : IDisposable
{
    private readonly Sandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public async Task A_request_reaches_the_handler_of_its_path_with_parameters_query_and_body()
    {
        using var client = Serve();
        using var answer = await client.PostAsync("/things/a-1?loud", Json("{\"size\":3,\"inner\":{\"name\":\"x\"}}"));
        answer.StatusCode.Should().Be(HttpStatusCode.OK);
        answer.Content.Headers.ContentType!.ToString().Should().Be("application/json");
        (await answer.Content.ReadAsStringAsync()).Should().Be("{\"size\":3,\"inner\":{\"name\":\"a-1 loud x\"},\"list\":null}");
    }

    [Theory]
    [InlineData("GET", "/thing", 404, "KVM0700", "did you mean /things?")]
    [InlineData("GET", "/things/a/b", 404, "KVM0700", "is not there")]
    [InlineData("PUT", "/things", 405, "KVM0701", "takes DELETE, GET, not PUT")]
    [InlineData("OPTIONS", "/things", 405, "KVM0701", "not OPTIONS")]
    [InlineData("GET", "/things?lout=1", 400, "KVM0702", "the query does not have 'lout'")]
    [InlineData("POST", "/things/a?lout", 400, "KVM0702", "did you mean loud?")]
    [InlineData("POST", "/things/a?loud=maybe", 400, "KVM0702", "loud is true or false")]
    [InlineData("POST", "/missing", 404, "KVM0600", "nothing of that name")]
    [InlineData("POST", "/broken", 500, "KVM0605", "the disk is full")]
    public async Task A_request_that_cannot_be_done_is_told_why_in_one_form(string method, string path, int status, string id, string says)
    {
        using var client = Serve();
        using var answer = await client.SendAsync(new HttpRequestMessage(new HttpMethod(method), path) { Content = path.StartsWith("/things/a?", StringComparison.Ordinal) ? Json("{\"size\":1}") : null });
        ((int)answer.StatusCode).Should().Be(status);
        var error = JsonDocument.Parse(await answer.Content.ReadAsStringAsync()).RootElement.GetProperty("error");
        error.EnumerateObject().Select(member => member.Name).Should().Equal("id", "summary", "detail", "fix");
        error.GetProperty("id").GetString().Should().Be(id);
        error.GetProperty("detail").GetString().Should().Contain(says);
        if (status == 405)
            answer.Content.Headers.Allow.Should().Equal("DELETE", "GET");
    }

    [Theory]
    [InlineData("", "the body is empty")]
    [InlineData("{", "depth")]
    [InlineData("{\"sise\":1}", "did you mean size?")]
    [InlineData("{\"size\":1,\"colour\":2}", "it has size, inner, list")]
    [InlineData("{\"size\":1,\"inner\":{\"nam\":\"x\"}}", "inner does not have 'nam'; did you mean name?")]
    [InlineData("{\"size\":1,\"list\":[{\"name\":\"x\"},{\"nome\":\"x\"}]}", "list[1] does not have 'nome'; did you mean name?")]
    [InlineData("{\"size\":1,\"size\":2}", "'size' twice")]
    [InlineData("{\"size\":\"1\"}", "'size' has a value of another type")]
    [InlineData("{\"size\":1,\"inner\":7}", "'inner' has a value of another type")]
    [InlineData("[]", "could not be converted")]
    [InlineData("null", "the body is null")]
    [InlineData("{\"size\":1,\"inner\":{\"name\":\"\\ud800\"}}", "'inner.name'")]
    [InlineData("{\"\\ud800\":1}", "no Unicode")]
    public async Task A_body_that_is_not_understood_is_refused_with_the_place(string body, string says)
    {
        using var client = Serve();
        using var answer = await client.PostAsync("/things/a", Json(body));
        answer.StatusCode.Should().Be(HttpStatusCode.BadRequest);
        (await answer.Content.ReadAsStringAsync()).Should().Contain("KVM0702").And.Contain(says);
    }

    [Theory]
    [InlineData(64, HttpStatusCode.OK)]
    [InlineData(65, HttpStatusCode.BadRequest)]
    [InlineData(10_000, HttpStatusCode.BadRequest)]
    public async Task A_body_may_be_nested_64_levels_deep(int levels, HttpStatusCode expected)
    {
        using var client = Serve();
        using var answer = await client.PutAsync("/any", Json(new string('[', levels) + new string(']', levels)));
        answer.StatusCode.Should().Be(expected);
    }

    [Fact]
    public async Task A_body_where_none_is_taken_is_refused()
    {
        using var client = Serve();
        using var answer = await client.SendAsync(new HttpRequestMessage(HttpMethod.Delete, "/things") { Content = Json("{}") });
        answer.StatusCode.Should().Be(HttpStatusCode.BadRequest);
        (await answer.Content.ReadAsStringAsync()).Should().Contain("takes no body");
    }

    [Fact]
    public async Task A_body_of_a_gigabyte_is_refused_by_its_length_before_any_of_it_is_sent()
    {
        Serve().Dispose();
        string answer = await _sandbox.Raw("PUT /any HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n");
        answer.Should().StartWith("HTTP/1.1 413 ").And.Contain("KVM0703").And.Contain("Connection: close");
    }

    [Fact]
    public async Task A_body_without_a_length_is_read_to_the_limit_only()
    {
        Serve().Dispose();
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        using var socket = await _sandbox.Connect(patience.Token);
        byte[] chunk = Encoding.ASCII.GetBytes($"10000\r\n{new string(' ', 0x10000)}\r\n");
        await socket.SendAsync(Encoding.ASCII.GetBytes("PUT /any HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), patience.Token);
        var refused = Sandbox.ReadAll(socket, patience.Token);
        try
        {
            while (!refused.IsCompleted)
                await socket.SendAsync(chunk, patience.Token);
        }
        catch (SocketException)
        {
            // It hung up.
        }

        (await refused).Should().StartWith("HTTP/1.1 413 ");
    }

    [Fact]
    public async Task A_header_that_is_too_long_and_a_request_that_is_none_are_refused()
    {
        Serve().Dispose();
        (await _sandbox.Raw("GET /things HTTP/1.1\r\nHost: x\r\nA: " + new string('a', 20_000) + "\r\n\r\n")).Should().StartWith("HTTP/1.1 431 ");
        (await _sandbox.Raw("hello\r\n\r\n")).Should().StartWith("HTTP/1.1 400 ");
    }

    [Fact]
    public async Task A_client_that_says_nothing_is_sent_away_and_others_are_answered_meanwhile()
    {
        using var client = Serve();
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        using var slow = await _sandbox.Connect(patience.Token);
        await slow.SendAsync(Encoding.ASCII.GetBytes("GET /things HT"), patience.Token);
        (await client.GetStringAsync("/things")).Should().Be("\"all\"");
        (await Sandbox.ReadAll(slow, patience.Token)).Should().StartWith("HTTP/1.1 408 ");
    }

    [Fact]
    public async Task A_body_that_does_not_come_is_not_waited_for()
    {
        Serve().Dispose();
        (await _sandbox.Raw("PUT /any HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")).Should().StartWith("HTTP/1.1 408 ");
    }

    [SkippableFact]
    public void Another_user_is_hung_up_on_even_where_the_socket_lets_them_in()
    {
        Skip.IfNot(Environment.IsPrivilegedProcess, "only the administrator can act as another user");
        Skip.IfNot(File.Exists("/usr/bin/setpriv") && File.Exists("/usr/bin/curl"), "no setpriv or no curl");
        Serve().Dispose();
        const UnixFileMode everybody = (UnixFileMode)0b111_111_111;
        File.SetUnixFileMode(_sandbox.Folder, everybody);
        File.SetUnixFileMode(_sandbox.SocketPath, everybody);
        string[] ask = ["curl", "--silent", "--show-error", "--unix-socket", _sandbox.SocketPath, "http://localhost/things"];
        Run(ask).Should().Be((0, "\"all\""));
        // For curl a connection that was closed before it looked (7), an empty answer (52), a connection that was reset (56).
        Run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", .. ask]).Code.Should().BeOneOf(7, 52, 56);
    }

    private static (int Code, string Output) Run(string[] words)
    {
        using var process = Process.Start(new ProcessStartInfo(words[0], words[1..]) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    [Fact]
    public async Task A_stream_ends_when_its_client_has_gone_and_when_the_server_ends()
    {
        var begun = new SemaphoreSlim(0);
        var ended = new SemaphoreSlim(0);
        using var client = Serve(new Route("GET", "/stream", "streams", _ => Task.FromResult(ApiAnswer.Streamed("text/plain", async (to, cancel) =>
        {
            begun.Release();
            await to.WriteAsync("x"u8.ToArray(), cancel);
            await to.FlushAsync(cancel);
            try
            {
                await Task.Delay(Timeout.Infinite, cancel);
            }
            finally
            {
                ended.Release();
            }
        }))));
        using (var first = await client.GetStreamAsync("/stream"))
        {
            (await begun.WaitAsync(Sandbox.Patience)).Should().BeTrue();
            first.ReadByte().Should().Be('x');
        }

        (await ended.WaitAsync(Sandbox.Patience)).Should().BeTrue("its client has gone");
        using var second = await client.GetStreamAsync("/stream");
        (await begun.WaitAsync(Sandbox.Patience)).Should().BeTrue();
        _server!.Dispose();
        (await ended.WaitAsync(Sandbox.Patience)).Should().BeTrue("the server ended");
    }

    [Fact]
    public void The_socket_is_its_owners_alone_and_gone_after_the_end()
    {
        Serve().Dispose();
        File.GetUnixFileMode(_sandbox.SocketPath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _server!.Dispose();
        File.Exists(_sandbox.SocketPath).Should().BeFalse();
    }

    [Fact]
    public async Task A_socket_that_was_left_behind_is_replaced()
    {
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(_sandbox.SocketPath));
            // Closing a bound socket removes the path: a killed process leaves it.
            File.Move(_sandbox.SocketPath, _sandbox.SocketPath + ".kept");
        }

        File.Move(_sandbox.SocketPath + ".kept", _sandbox.SocketPath);
        using var client = Serve();
        (await client.GetStringAsync("/things")).Should().Be("\"all\"");
    }

    [Fact]
    public void A_socket_that_is_listened_at_a_file_and_a_link_are_left_alone()
    {
        Serve().Dispose();
        Refused("there already");
        _server!.Dispose();

        File.WriteAllText(_sandbox.SocketPath, "precious");
        Refused("there already");
        File.ReadAllText(_sandbox.SocketPath).Should().Be("precious");
        File.Delete(_sandbox.SocketPath);

        string target = Path.Combine(_sandbox.Folder, "target");
        File.CreateSymbolicLink(_sandbox.SocketPath, target);
        Refused("there already");
        File.Exists(target).Should().BeFalse();
    }

    [Fact]
    public void A_path_that_no_socket_can_have_is_refused()
    {
        var open = () => ApiServer.Open(Path.Combine(_sandbox.Folder, new string('a', 200)), Table());
        open.Should().Throw<VmmException>().Which.Error.Should().Be(ApiErrors.NoSocket);
        var missing = () => ApiServer.Open(Path.Combine(_sandbox.Folder, "no", "folder"), Table());
        missing.Should().Throw<VmmException>().Which.Error.Should().Be(ApiErrors.NoSocket);
    }

    private void Refused(string says)
    {
        var open = () => ApiServer.Open(_sandbox.SocketPath, Table());
        open.Should().Throw<VmmException>().WithMessage($"*{says}*").Which.Error.Should().Be(ApiErrors.NoSocket);
    }

    private ApiServer? _server;

    private HttpClient Serve(params Route[] more)
    {
        _server = _sandbox.Own(ApiServer.Open(_sandbox.SocketPath, Table(more)));
        return _sandbox.Client();
    }

    private static RouteTable Table(params Route[] more) => new("Things",
    [
        new Route("GET", "/things", "all", _ => Task.FromResult(ApiAnswer.Json(json => json.WriteStringValue("all")))),
        new Route("DELETE", "/things", "none", _ => Task.FromResult(ApiAnswer.Done)) { Status = 204 },
        new Route("POST", "/things/{name}", "one", request =>
        {
            var thing = request.Read(ThingJson.Default.Thing);
            return Task.FromResult(ApiAnswer.Json(thing with { Inner = new Part($"{request["name"]}{(request.Flag("loud") ? " loud" : "")} {thing.Inner?.Name}") }, ThingJson.Default.Thing));
        })
        { Takes = ApiBody.Of(ThingJson.Default.Thing), Query = [new QueryWord("loud", "louder")] },
        new Route("PUT", "/any", "anything", _ => Task.FromResult(ApiAnswer.Json(json => json.WriteBooleanValue(true)))) { Takes = ApiBody.AnyJson },
        new Route("POST", "/missing", "fails", _ => throw new VmmException(ManagerErrors.NoSuchVm, "nothing of that name")),
        new Route("POST", "/broken", "fails", _ => throw new VmmException(ManagerErrors.CannotKeep, "the disk is full")),
        .. more,
    ], refusal => refusal.ToAnswer());

    private static StringContent Json(string text) => new(text, Encoding.UTF8, "application/json");

    internal sealed record Part(string Name);

    internal sealed record Thing(int Size, Part? Inner = null, IReadOnlyList<Part>? List = null);

    [JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
    [JsonSerializable(typeof(Thing))]
    internal sealed partial class ThingJson : JsonSerializerContext;
}
