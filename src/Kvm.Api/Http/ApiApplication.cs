using System.Diagnostics;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Kvm.Api.Http;

/// <summary>Answers requests by a table of routes: finds the row, reads and checks what the row takes, and has it handled. Thread-safe.</summary>
/// <param name="table">The rows.</param>
/// <param name="ending">The server ends: streams end.</param>
internal sealed class ApiApplication(RouteTable table, CancellationToken ending) : IHttpApplication<HttpContext>
{
    /// <summary>What a host of this library can listen to: an activity for each request, and for each operation.</summary>
    public const string SourceName = "Kvm.Api";

    private static readonly ActivitySource s_source = new(SourceName);

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext context)
    {
        using var activity = Begin(context.Request);
        try
        {
            var answer = await Ask(context, activity);
            activity?.SetTag("http.response.status_code", answer.Status);
            await Send(context, answer);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // Whoever asked is gone, or was sent away for being too slow.
        }
    }

    /// <summary>What a request comes to, also one that came in another way than by a connection. Nothing is sent.</summary>
    public async Task<ApiAnswer> Ask(HttpContext context, Activity? activity = null)
    {
        var request = context.Request;
        try
        {
            var route = table.Find(request.Method, request.Path.Value ?? "", out var parameters);
            if (activity is not null)
                activity.DisplayName = $"{route.Method} {route.Template}";
            CheckQuery(request.Query, route);
            var bytes = await ReadBody(context);
            return await route.Handler(new ApiRequest(context, route, parameters, bytes, Understand(route, bytes)));
        }
        catch (BadHttpRequestException e)
        {
            return Refuse(request, activity, new ApiRefusal(e.StatusCode, e.StatusCode == StatusCodes.Status413PayloadTooLarge ? ApiErrors.TooLarge : ApiErrors.BadRequest, VisibleText.Escape(e.Message), e));
        }
        catch (VmmException e)
        {
            return Refuse(request, activity, ApiRefusal.Of(e));
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException && !context.RequestAborted.IsCancellationRequested)
        {
            return Refuse(request, activity, new ApiRefusal(500, Vmm.Reporting.OutcomeErrors.HostFailed, HostFailureText.Of(e), e));
        }
    }

    private ApiAnswer Refuse(HttpRequest request, Activity? activity, ApiRefusal refusal)
    {
        activity?.SetStatus(ActivityStatusCode.Error, refusal.Error.Id);
        refusal.Asked = $"{request.Method} {request.Path.Value}";
        if (refusal.Allow is { } allow)
            request.HttpContext.Response.Headers.Allow = allow;
        return table.Refuse(refusal);
    }

    /// <summary>Takes over the trace that the client is in (W3C Trace Context).</summary>
    private static Activity? Begin(HttpRequest request)
    {
        if (!s_source.HasListeners())
            return null;
        _ = ActivityContext.TryParse(request.Headers.TraceParent, request.Headers.TraceState, isRemote: true, out var parent);
        return s_source.StartActivity(request.Method, ActivityKind.Server, parent)?.SetTag("http.request.method", request.Method).SetTag("url.path", request.Path.Value);
    }

    private static void CheckQuery(IQueryCollection query, Route route)
    {
        foreach (string word in query.Keys)
        {
            if (route.Query.Any(known => known.Name == word))
                continue;
            string shown = VisibleText.Quote(word, 64);
            throw new ApiRefusal(400, ApiErrors.BadRequest, NearestName.Find(word, route.Query.Select(known => known.Name)) is { } near ? $"the query does not have {shown}; did you mean {near}?" : $"the query does not have {shown}");
        }
    }

    /// <summary>The whole body. More than the server takes is refused by its length, before it is read.</summary>
    private static async Task<ReadOnlyMemory<byte>> ReadBody(HttpContext context)
    {
        if (context.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false })
            return default;
        using var bytes = new MemoryStream();
        await context.Request.Body.CopyToAsync(bytes, context.RequestAborted);
        return bytes.GetBuffer().AsMemory(0, (int)bytes.Length);
    }

    private static JsonElement Understand(Route route, ReadOnlyMemory<byte> bytes)
    {
        if (route.Takes is null && bytes.Length > 0)
            throw new ApiRefusal(400, ApiErrors.BadRequest, $"{route.Method} {route.Template} takes no body");
        if (route.Takes is not { IsJson: true } || (bytes.Length == 0 && route.MayBeEmpty))
            return default;
        try
        {
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = ApiServer.MostDepth });
            JsonMembers.Check(document.RootElement, route.Takes.Form);
            return document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw new ApiRefusal(400, ApiErrors.BadRequest, bytes.Length == 0 ? "the body is empty" : VisibleText.Escape(e.Message), e);
        }
        catch (InvalidOperationException e)
        {
            // Half of a surrogate pair in a member's name, which the tokenizer lets pass.
            throw new ApiRefusal(400, ApiErrors.BadRequest, "a name of the body is no Unicode", e);
        }
    }

    private async Task Send(HttpContext context, ApiAnswer answer)
    {
        var response = context.Response;
        response.StatusCode = answer.Status;
        response.Headers.CacheControl = "no-store";
        response.Headers.XContentTypeOptions = "nosniff";
        response.ContentType = answer.Type;
        if (answer.Location is not null)
            response.Headers.Location = answer.Location;
        if (answer.Stream is null)
        {
            // 204 has no body and no length (RFC 9110, 8.6): a write, of nothing too, would end the connection.
            if (answer.Status == StatusCodes.Status204NoContent)
                return;
            response.ContentLength = answer.Body.Length;
            await response.Body.WriteAsync(answer.Body, context.RequestAborted);
            return;
        }

        using var both = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        await response.Body.FlushAsync(both.Token);
        await answer.Stream(response.Body, both.Token);
    }
}
