using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary><c>/actions</c>.</summary>
internal sealed record ActionBody(string ActionType);

/// <summary><c>/vm</c>.</summary>
internal sealed record VmBody(string State);

/// <summary><c>/logger</c>.</summary>
internal sealed record LoggerBody(string? LogPath = null, string? Level = null, bool? ShowLevel = null, bool? ShowLogOrigin = null, string? Module = null);

/// <summary><c>/metrics</c>.</summary>
internal sealed record MetricsBody(string MetricsPath, bool EmitId = false, SortedDictionary<string, string>? Properties = null);

/// <summary>PATCH <c>/balloon</c>.</summary>
internal sealed record BalloonBody(uint AmountMib);

/// <summary>PATCH <c>/balloon/statistics</c>.</summary>
internal sealed record BalloonStatisticsBody(ushort StatsPollingIntervalS);

/// <summary>PATCH <c>/drives/ID</c>.</summary>
internal sealed record DrivePatchBody(string DriveId, string? PathOnHost = null, JsonElement? RateLimiter = null);

/// <summary>PATCH <c>/network-interfaces/ID</c>.</summary>
internal sealed record CardPatchBody(string IfaceId, JsonElement? RxRateLimiter = null, JsonElement? TxRateLimiter = null);

/// <summary><c>/snapshot/create</c>.</summary>
internal sealed record SnapshotCreateBody(string SnapshotPath, string MemFilePath, string SnapshotType = "Full");

/// <summary>Where a snapshot's memory is.</summary>
internal sealed record MemoryBackendBody(string BackendType, string BackendPath);

/// <summary>Another TAP interface for a card of a snapshot.</summary>
internal sealed record NetworkOverrideBody(string IfaceId, string HostDevName);

/// <summary>Another socket for the vsock of a snapshot.</summary>
internal sealed record VsockOverrideBody(string UdsPath);

/// <summary><c>/snapshot/load</c>.</summary>
internal sealed record SnapshotLoadBody(
    string SnapshotPath, string? MemFilePath = null, MemoryBackendBody? MemBackend = null, bool EnableDiffSnapshots = false, bool TrackDirtyPages = false,
    bool ResumeVm = false, IReadOnlyList<NetworkOverrideBody>? NetworkOverrides = null, VsockOverrideBody? VsockOverride = null,
    bool ClockRealtime = false, string HugePages = "Snapshot");

/// <summary>What of a body's members this program has to know by itself; the rest is the configuration file's (<see cref="ConfigFile.ParseMember"/>).</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, RespectRequiredConstructorParameters = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(ActionBody))]
[JsonSerializable(typeof(VmBody))]
[JsonSerializable(typeof(LoggerBody))]
[JsonSerializable(typeof(MetricsBody))]
[JsonSerializable(typeof(BalloonBody))]
[JsonSerializable(typeof(BalloonStatisticsBody))]
[JsonSerializable(typeof(DrivePatchBody))]
[JsonSerializable(typeof(CardPatchBody))]
[JsonSerializable(typeof(SnapshotCreateBody))]
[JsonSerializable(typeof(SnapshotLoadBody))]
[JsonSerializable(typeof(SnapshotFile))]
internal sealed partial class FirecrackerJson : JsonSerializerContext;

/// <summary>Reads bodies. Thread-safe: pure functions.</summary>
internal static class Body
{
    /// <summary>The deepest a body may be: what a guest may ask of itself.</summary>
    private const int MostDepth = 32;

    /// <summary>What a body is called in messages.</summary>
    public const string Name = "body";

    /// <summary>A body as JSON.</summary>
    /// <exception cref="ApiRefusal">400: it is none.</exception>
    public static JsonElement Parse(ReadOnlyMemory<byte> utf8)
    {
        try
        {
            using var document = JsonDocument.Parse(utf8, new JsonDocumentOptions { MaxDepth = MostDepth });
            return document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw Wrong(utf8.IsEmpty ? "the body is empty" : VisibleText.Escape(e.Message), e);
        }
    }

    /// <summary>A body as an object that has the members it needs.</summary>
    /// <exception cref="ApiRefusal">400: it is another value, or lacks one.</exception>
    public static JsonElement Parse(ReadOnlyMemory<byte> utf8, params ReadOnlySpan<string> needed)
    {
        var body = Parse(utf8);
        if (body.ValueKind != JsonValueKind.Object)
            throw Wrong("the body is no object");
        foreach (string member in needed)
        {
            if (!body.TryGetProperty(member, out var value) || value.ValueKind == JsonValueKind.Null)
                throw Wrong($"the body lacks '{member}'");
        }

        return body;
    }

    /// <summary>A body whose members are all known here.</summary>
    /// <exception cref="ApiRefusal">400: it is no such body.</exception>
    public static T Read<T>(ReadOnlyMemory<byte> utf8, JsonTypeInfo<T> form)
    {
        var body = Parse(utf8, []);
        try
        {
            JsonMembers.Check(body, form);
            return body.Deserialize(form)!;
        }
        catch (JsonException e)
        {
            string at = e.Path?.TrimStart('$').TrimStart('.') ?? "";
            throw Wrong(at.Length > 0 ? $"'{VisibleText.Escape(at)}' has a value of another type than its own" : VisibleText.Escape(e.Message), e);
        }
        catch (InvalidOperationException e)
        {
            // Half of a surrogate pair, which the tokenizer lets pass.
            throw Wrong("a text of the body is no Unicode", e);
        }
    }

    /// <summary>A value that is not what it should be.</summary>
    public static ApiRefusal Wrong(string detail, Exception? inner = null) => new(400, FirecrackerErrors.BadValue, detail, inner);

    /// <summary>What this program does not have.</summary>
    public static ApiRefusal Lacks(string detail) => new(400, FirecrackerErrors.Unsupported, detail);

    /// <summary>What cannot be done at this time of a machine's life.</summary>
    public static ApiRefusal NotNow(string detail) => new(400, FirecrackerErrors.NotNow, detail);
}
