using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kvm.Web;

/// <summary>Answers the requests of one page: its files, its events, its commands.</summary>
/// <param name="page">The page's name.</param>
/// <param name="feed">Its events.</param>
/// <param name="command">Its commands.</param>
/// <param name="ending">The site closes: streams end.</param>
internal sealed class PageRequests(string page, EventFeed feed, PageCommand command, CancellationToken ending) : IHttpApplication<HttpContext>
{
    private const string Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private RequestGuard? _guard;

    /// <summary>Lets requests in: the port is known now.</summary>
    public void Open(RequestGuard guard) => Volatile.Write(ref _guard, guard);

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext context)
    {
        try
        {
            Protect(context.Response.Headers);
            await Answer(context);
        }
        catch (BadHttpRequestException e)
        {
            await Refuse(context, e.StatusCode, "the request is too large or broken");
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // Whoever asked is gone.
        }
    }

    /// <summary>What every answer says: nobody keeps it, frames it, guesses its type, or learns the address from it.</summary>
    private static void Protect(IHeaderDictionary headers)
    {
        headers.CacheControl = "no-store";
        headers.ContentSecurityPolicy = Policy;
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
    }

    private Task Answer(HttpContext context)
    {
        var request = context.Request;
        if (Volatile.Read(ref _guard) is not { } guard || guard.Behind(request.Path.Value ?? "") is not { } name)
            return Refuse(context, StatusCodes.Status403Forbidden, "the token is missing or another one: take the whole address that kvmsharp printed");
        bool asks = name.StartsWith("api/", StringComparison.Ordinal);
        if (guard.Refusal(request, asks) is { } why)
            return Refuse(context, StatusCodes.Status403Forbidden, why);
        bool reads = HttpMethods.IsGet(request.Method);
        return (asks, reads) switch
        {
            (true, true) when name == "api/events" => Stream(context),
            (true, false) when HttpMethods.IsPost(request.Method) => Command(context, name["api/".Length..]),
            (false, true) => File(context, name.Length == 0 ? $"{page}.html" : name),
            (_, true) => Refuse(context, StatusCodes.Status404NotFound, "there is nothing here"),
            _ => Refuse(context, StatusCodes.Status405MethodNotAllowed, "not in this way"),
        };
    }

    private static Task File(HttpContext context, string name)
    {
        if (PageFiles.Find(name) is not var (bytes, type))
            return Refuse(context, StatusCodes.Status404NotFound, "there is nothing here");
        context.Response.ContentType = type;
        context.Response.ContentLength = bytes.Length;
        return context.Response.Body.WriteAsync(bytes).AsTask();
    }

    private async Task Stream(HttpContext context)
    {
        using var reader = feed.TryOpen();
        if (reader is null)
        {
            await Refuse(context, StatusCodes.Status503ServiceUnavailable, "too many pages read already");
            return;
        }

        using var both = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        context.Response.ContentType = "text/event-stream";
        var body = context.Response.Body;
        foreach (byte[] frame in reader.Kept)
            await body.WriteAsync(frame, both.Token);
        await body.FlushAsync(both.Token);
        long told = 0;
        while (await reader.Waiting.WaitToReadAsync(both.Token))
        {
            while (reader.Waiting.TryRead(out byte[]? frame))
                await body.WriteAsync(frame, both.Token);
            if (reader.Dropped is var dropped && dropped != told)
                await body.WriteAsync(EventFeed.Frame("dropped", Encoding.ASCII.GetBytes($"{told = dropped}")), both.Token);
            await body.FlushAsync(both.Token);
        }
    }

    private async Task Command(HttpContext context, string name)
    {
        if (name.Length is 0 or > 32 || !name.All(char.IsAsciiLetter))
        {
            await Refuse(context, StatusCodes.Status404NotFound, "there is no such command");
            return;
        }

        JsonDocument arguments;
        try
        {
            arguments = await JsonDocument.ParseAsync(context.Request.Body, new JsonDocumentOptions { MaxDepth = 8 }, context.RequestAborted);
        }
        catch (JsonException)
        {
            await Refuse(context, StatusCodes.Status400BadRequest, "a command comes with a JSON object");
            return;
        }

        using (arguments)
        {
            if (arguments.RootElement.ValueKind != JsonValueKind.Object)
            {
                await Refuse(context, StatusCodes.Status400BadRequest, "a command comes with a JSON object");
                return;
            }

            var answer = await command(name, arguments.RootElement, context.RequestAborted);
            await Send(context, answer.Status, "application/json", answer.Json);
        }
    }

    private static Task Refuse(HttpContext context, int status, string why) => Send(context, status, "text/plain; charset=utf-8", Encoding.UTF8.GetBytes(why + "\n"));

    private static Task Send(HttpContext context, int status, string type, byte[] bytes)
    {
        if (context.Response.HasStarted)
            return Task.CompletedTask;
        context.Response.StatusCode = status;
        context.Response.ContentType = type;
        context.Response.ContentLength = bytes.Length;
        return context.Response.Body.WriteAsync(bytes).AsTask();
    }
}
