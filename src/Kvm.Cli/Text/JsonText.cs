using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Kvm.Cli.Text;

/// <summary>Makes one JSON document, indented, for <c>--json</c>.</summary>
internal static class JsonText
{
    /// <summary>The document, with a line end.</summary>
    /// <param name="write">Writes the one value of the document.</param>
    public static string Of(Action<Utf8JsonWriter> write) => Of(write, indented: true);

    /// <summary>The document on one line, for streams.</summary>
    /// <param name="write">Writes the one value of the document.</param>
    public static string Line(Action<Utf8JsonWriter> write) => Of(write, indented: false);

    private static string Of(Action<Utf8JsonWriter> write, bool indented)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = indented, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            write(json);
        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }
}
