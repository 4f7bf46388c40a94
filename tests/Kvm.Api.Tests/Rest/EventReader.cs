using System.Text.Json;

namespace Kvm.Api.Tests.Rest;

/// <summary>Reads server-sent events (HTML, 9.2).</summary>
internal sealed class EventReader(Stream stream) : IDisposable
{
    private readonly StreamReader _lines = new(stream);

    /// <summary>The id of the last one.</summary>
    public string? LastId { get; private set; }

    /// <summary>The next: its kind and data.</summary>
    public async Task<(string Kind, string Data)> Next()
    {
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        string kind = "", data = "";
        while (await _lines.ReadLineAsync(patience.Token) is { } line)
        {
            if (line.Length == 0 && kind.Length > 0)
                return (kind, data);
            if (line.StartsWith("id: ", StringComparison.Ordinal))
                LastId = line[4..];
            else if (line.StartsWith("event: ", StringComparison.Ordinal))
                kind = line[7..];
            else if (line.StartsWith("data: ", StringComparison.Ordinal))
                data = line[6..];
        }

        throw new EndOfStreamException();
    }

    /// <summary>Waits for an event of a machine.</summary>
    public async Task<JsonElement> Until(string what)
    {
        while (true)
        {
            var told = JsonDocument.Parse((await Next()).Data).RootElement;
            if (told.TryGetProperty("event", out var happened) && happened.GetString() == what)
                return told;
        }
    }

    public void Dispose() => _lines.Dispose();
}
