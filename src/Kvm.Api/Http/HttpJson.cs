using System.Text.Json.Serialization;

namespace Kvm.Api.Http;

/// <summary>What a refused request is told.</summary>
/// <param name="Error">Why.</param>
internal sealed record ErrorView(ErrorDetail Error);

/// <summary>An error (docs/errors.md).</summary>
/// <param name="Id">Its id.</param>
/// <param name="Summary">What failed.</param>
/// <param name="Detail">This occurrence.</param>
/// <param name="Fix">What to do.</param>
internal sealed record ErrorDetail(string Id, string Summary, string Detail, string Fix);

/// <summary>JSON that every API has.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ErrorView))]
internal sealed partial class HttpJson : JsonSerializerContext;
