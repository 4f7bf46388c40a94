using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Web;
using Microsoft.AspNetCore.Http;

namespace Kvm.Api.Rest;

/// <summary>
/// The page of all machines: at a port of 127.0.0.1, to who has its address with the token (docs/web.md). It can do what the API can, by one command,
/// <c>call</c>, that goes the way of every other request; and is told the log of events.
/// </summary>
internal sealed class ManagerSite : IDisposable
{
    private const int MostAnswer = 4 << 20;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(65);

    private readonly EventFeed _feed = new(1 << 20);
    private readonly CancellationTokenSource _end = new();
    private readonly ApiApplication _api;
    private LoopbackSite? _site;
    private Task _events = Task.CompletedTask;

    private ManagerSite(RouteTable table) => _api = new ApiApplication(table, _end.Token);

    /// <summary>The address, with the token.</summary>
    public string Address => _site!.Address;

    /// <summary>Begins to serve.</summary>
    /// <exception cref="IOException">The port is taken or not allowed.</exception>
    public static ManagerSite Open(int port, RestServices services, RouteTable table)
    {
        var site = new ManagerSite(table);
        site._site = LoopbackSite.Open("manager", port, site._feed, site.Command);
        site._events = site.Tell(services);
        return site;
    }

    public void Dispose()
    {
        _end.Cancel();
        _feed.End();
        _site?.Dispose();
        _events.GetAwaiter().GetResult();
        _end.Dispose();
    }

    private async Task<PageAnswer> Command(string command, JsonElement arguments, CancellationToken cancel)
    {
        if (command != "call" || !arguments.TryGetProperty("method", out var method) || !arguments.TryGetProperty("path", out var path)
            || method.ValueKind != JsonValueKind.String || path.ValueKind != JsonValueKind.String)
            return new PageAnswer("{\"error\":\"a page asks by call, with method and path\"}"u8.ToArray(), StatusCodes.Status400BadRequest);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel, _end.Token);
        limit.CancelAfter(s_patience);
        string[] parts = path.GetString()!.Split('?', 2);
        var context = new DefaultHttpContext { RequestAborted = limit.Token };
        context.Request.Method = method.GetString()!;
        context.Request.Path = new PathString("/" + parts[0].TrimStart('/'));
        context.Request.QueryString = parts.Length > 1 ? new QueryString("?" + parts[1]) : default;
        context.Request.Body = new MemoryStream(BodyOf(arguments));
        var answer = await _api.Ask(context);
        return await Wrapped(answer, limit.Token);
    }

    /// <summary>A text is bytes to be typed, anything else JSON.</summary>
    private static byte[] BodyOf(JsonElement arguments) => !arguments.TryGetProperty("body", out var body) ? []
        : body.ValueKind == JsonValueKind.String ? Encoding.UTF8.GetBytes(body.GetString()!)
        : Encoding.UTF8.GetBytes(body.GetRawText());

    /// <summary>The status, and the body as JSON or as a text. A stream is read to its end: those that go on are not for commands.</summary>
    private static async Task<PageAnswer> Wrapped(ApiAnswer answer, CancellationToken cancel)
    {
        var body = answer.Body;
        if (answer.Stream is not null)
        {
            using var bounded = new MemoryStream(new byte[MostAnswer]);
            try
            {
                await answer.Stream(bounded, cancel);
            }
            catch (Exception e) when (e is NotSupportedException or OperationCanceledException)
            {
                // It has more than a page is for, or does not end.
            }

            body = bounded.ToArray().AsMemory(0, (int)bounded.Position);
        }

        var json = new ArrayBufferWriter<byte>(body.Length + 64);
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteNumber("status", answer.Status);
            writer.WritePropertyName("body");
            if (body.IsEmpty && answer.Type is null or ApiBody.JsonType)
                writer.WriteNullValue();
            else if (answer.Type == ApiBody.JsonType)
                writer.WriteRawValue(body.Span);
            else
                writer.WriteStringValue(Encoding.UTF8.GetString(body.Span));
            writer.WriteEndObject();
        }

        return new PageAnswer(json.WrittenSpan.ToArray());
    }

    private async Task Tell(RestServices services)
    {
        var cursor = new EventCursor(services.Manager.Events.Path, null);
        cursor.Read();
        try
        {
            while (true)
            {
                var next = services.Pulse.Next;
                foreach (var (_, line) in cursor.Read())
                {
                    if (IsJson(line))
                        _feed.Publish("vm", Encoding.UTF8.GetBytes(line));
                }

                await next.WaitAsync(_end.Token);
            }
        }
        catch (OperationCanceledException)
        {
            // The manager ends.
        }
    }

    private static bool IsJson(string line)
    {
        try
        {
            using var told = JsonDocument.Parse(line);
            return told.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
