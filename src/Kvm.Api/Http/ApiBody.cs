using System.Text.Json.Serialization.Metadata;

namespace Kvm.Api.Http;

/// <summary>What a request brings or an answer has: what it is checked by, and what the OpenAPI document says of it. Immutable.</summary>
/// <param name="MediaType">The media type.</param>
/// <param name="Form">Its members, where it is JSON of a known form; null for any JSON, and for other types.</param>
internal sealed record ApiBody(string MediaType, JsonTypeInfo? Form = null)
{
    /// <summary>The media type of JSON.</summary>
    public const string JsonType = "application/json";

    /// <summary>JSON that whoever handles the request understands by itself.</summary>
    public static ApiBody AnyJson { get; } = new(JsonType);

    /// <summary>Bytes, whatever they are.</summary>
    public static ApiBody AnyBytes { get; } = new("application/octet-stream");

    /// <summary>Whether it is JSON.</summary>
    public bool IsJson => MediaType == JsonType;

    /// <summary>JSON of a form: unknown members are refused.</summary>
    public static ApiBody Of(JsonTypeInfo form) => new(JsonType, form);
}
