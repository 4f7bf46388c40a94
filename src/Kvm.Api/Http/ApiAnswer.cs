using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Kvm.Api.Http;

/// <summary>Writes an answer that goes on: events, a console. Ends when the client has gone or the server ends.</summary>
/// <param name="to">The client; flushed by who writes.</param>
/// <param name="cancel">The client has gone, or the server ends.</param>
internal delegate Task ApiStream(Stream to, CancellationToken cancel);

/// <summary>What a request came to. Immutable.</summary>
internal sealed class ApiAnswer
{
    private ApiAnswer(int status, string? type, ReadOnlyMemory<byte> body, ApiStream? stream = null) => (Status, Type, Body, Stream) = (status, type, body, stream);

    /// <summary>Done, and there is nothing to tell.</summary>
    public static ApiAnswer Done { get; } = new(204, null, default);

    /// <summary>The HTTP status.</summary>
    public int Status { get; }

    /// <summary>The body's media type; null where there is no body.</summary>
    public string? Type { get; }

    /// <summary>The body.</summary>
    public ReadOnlyMemory<byte> Body { get; }

    /// <summary>Writes the body instead; null where <see cref="Body"/> is it.</summary>
    public ApiStream? Stream { get; }

    /// <summary>The header Location, or null.</summary>
    public string? Location { get; init; }

    /// <summary>A value as JSON.</summary>
    public static ApiAnswer Json<T>(T value, JsonTypeInfo<T> type, int status = 200) => Json(json => JsonSerializer.Serialize(json, value, type), status);

    /// <summary>JSON as it is written.</summary>
    /// <param name="write">Writes one value.</param>
    /// <param name="status">The HTTP status.</param>
    /// <param name="location">The header Location, or null.</param>
    public static ApiAnswer Json(Action<Utf8JsonWriter> write, int status = 200, string? location = null)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            write(json);
        return new ApiAnswer(status, ApiBody.JsonType, buffer.WrittenMemory) { Location = location };
    }

    /// <summary>Bytes of a media type.</summary>
    public static ApiAnswer Bytes(string type, ReadOnlyMemory<byte> body, int status = 200) => new(status, type, body);

    /// <summary>A body that is written as it comes.</summary>
    public static ApiAnswer Streamed(string type, ApiStream stream) => new(200, type, default, stream);
}
