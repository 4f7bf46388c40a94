using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Microsoft.AspNetCore.Http;

namespace Kvm.Api.Http;

/// <summary>A request as its handler sees it: its path, query and body are what its route takes. One thread.</summary>
internal sealed class ApiRequest
{
    private readonly HttpContext _context;
    private readonly Dictionary<string, string> _parameters;

    internal ApiRequest(HttpContext context, Route route, Dictionary<string, string> parameters, ReadOnlyMemory<byte> bytes, JsonElement json)
    {
        (_context, Route, _parameters, Bytes, Json) = (context, route, parameters, bytes, json);
    }

    /// <summary>The row it was found by.</summary>
    public Route Route { get; }

    /// <summary>The body; empty where there is none.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>The body, where the route takes JSON; undefined where it was empty.</summary>
    public JsonElement Json { get; }

    /// <summary>Completes when the client has gone or the server ends.</summary>
    public CancellationToken Cancel => _context.RequestAborted;

    /// <summary>What stands at a parameter's place in the path: anything but a slash and nothing.</summary>
    public string this[string parameter] => _parameters[parameter];

    /// <summary>A word of the query: its value, empty where it has none; null where it is not there.</summary>
    public string? Query(string word) => _context.Request.Query.TryGetValue(word, out var value) ? value.ToString() : null;

    /// <summary>Whether a word of the query says yes.</summary>
    /// <exception cref="ApiRefusal">400: it says neither yes nor no.</exception>
    public bool Flag(string word) => Query(word) switch
    {
        null or "false" => false,
        "" or "true" => true,
        _ => throw new ApiRefusal(400, ApiErrors.BadRequest, $"{word} is true or false"),
    };

    /// <summary>A header; null where it is not there.</summary>
    public string? Header(string name) => _context.Request.Headers.TryGetValue(name, out var value) ? value.ToString() : null;

    /// <summary>The body as an object.</summary>
    /// <exception cref="ApiRefusal">400: a member has a value of another type than its own, or a needed one is missing.</exception>
    public T Read<T>(JsonTypeInfo<T> type)
    {
        try
        {
            return Json.Deserialize(type) ?? throw new ApiRefusal(400, ApiErrors.BadRequest, "the body is null");
        }
        catch (JsonException e)
        {
            string at = e.Path?.TrimStart('$').TrimStart('.') ?? "";
            throw new ApiRefusal(400, ApiErrors.BadRequest, at.Length > 0 ? $"{VisibleText.Quote(at, 100)} has a value of another type than its own" : VisibleText.Escape(e.Message), e);
        }
        catch (InvalidOperationException e)
        {
            // Half of a surrogate pair in a text, which the tokenizer lets pass.
            throw new ApiRefusal(400, ApiErrors.BadRequest, "a text of the body is no Unicode", e);
        }
    }
}
