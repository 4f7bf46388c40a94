using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;

namespace Kvm.Api.Http;

/// <summary>The OpenAPI document (version 3.1) of a table of routes: made of the same rows by which requests are handled. Thread-safe: pure functions.</summary>
internal static class OpenApiDocument
{
    private const string Refusal = "ErrorView";

    // JSON Schema's "anything" as an object: not every reader of OpenAPI takes the schema "true".
    private static readonly JsonSchemaExporterOptions s_exporting = new()
    {
        TreatNullObliviousAsNonNullable = true,
        TransformSchemaNode = static (_, schema) => schema.GetValueKind() == JsonValueKind.True ? new JsonObject() : schema,
    };

    /// <summary>The document.</summary>
    /// <param name="table">The rows.</param>
    /// <param name="version">The version of the program.</param>
    public static JsonObject Of(RouteTable table, string version)
    {
        SortedDictionary<string, JsonTypeInfo> forms = new(StringComparer.Ordinal) { [Refusal] = HttpJson.Default.ErrorView };
        JsonObject paths = [];
        foreach (var rows in table.Routes.GroupBy(route => route.Template))
        {
            JsonObject path = [];
            foreach (var route in rows)
                path[route.Method.ToLowerInvariant()] = Operation(route, forms);
            paths[rows.Key] = path;
        }

        JsonObject schemas = [];
        foreach (var (name, form) in forms)
            schemas[name] = form.GetJsonSchemaAsNode(s_exporting);
        return new JsonObject
        {
            ["openapi"] = "3.1.0",
            ["info"] = new JsonObject { ["title"] = table.Title, ["version"] = version },
            ["servers"] = new JsonArray(new JsonObject { ["url"] = "http://localhost", ["description"] = "the Unix socket" }),
            ["paths"] = paths,
            ["components"] = new JsonObject { ["schemas"] = schemas },
        };
    }

    private static JsonObject Operation(Route route, SortedDictionary<string, JsonTypeInfo> forms)
    {
        JsonObject answers = new() { [route.Status.ToString(CultureInfo.InvariantCulture)] = Answer(route.Summary, route.Gives, forms) };
        answers["default"] = Answer("Refused, and why.", ApiBody.Of(HttpJson.Default.ErrorView), forms);
        JsonObject operation = new()
        {
            ["operationId"] = OperationId(route),
            ["summary"] = route.Summary,
            ["parameters"] = Parameters(route),
            ["responses"] = answers,
        };
        if (route.Takes is { } takes)
            operation["requestBody"] = new JsonObject { ["required"] = !route.MayBeEmpty, ["content"] = Content(takes, forms) };
        return operation;
    }

    private static JsonArray Parameters(Route route)
    {
        JsonArray parameters = [];
        foreach (string segment in route.Segments)
        {
            if (Route.ParameterOf(segment) is { } name)
                parameters.Add((JsonNode)new JsonObject { ["name"] = name, ["in"] = "path", ["required"] = true, ["schema"] = new JsonObject { ["type"] = "string" } });
        }

        foreach (var word in route.Query)
            parameters.Add((JsonNode)new JsonObject { ["name"] = word.Name, ["in"] = "query", ["description"] = word.Says, ["schema"] = new JsonObject { ["type"] = "string" } });
        return parameters;
    }

    private static JsonObject Answer(string says, ApiBody? body, SortedDictionary<string, JsonTypeInfo> forms)
    {
        JsonObject answer = new() { ["description"] = says };
        if (body is not null)
            answer["content"] = Content(body, forms);
        return answer;
    }

    private static JsonObject Content(ApiBody body, SortedDictionary<string, JsonTypeInfo> forms)
    {
        JsonObject schema = [];
        if (body.Form is { } form)
        {
            forms[form.Type.Name] = form;
            schema["$ref"] = $"#/components/schemas/{form.Type.Name}";
        }

        return new JsonObject { [body.MediaType] = new JsonObject { ["schema"] = schema } };
    }

    /// <summary><c>POST /vms/{name}/start</c> is <c>postVmsNameStart</c>.</summary>
    private static string OperationId(Route route) => route.Method.ToLowerInvariant() + string.Concat(route.Segments.Select(segment =>
    {
        string word = string.Concat((Route.ParameterOf(segment) ?? segment).Split('.', '-').Select(part => char.ToUpperInvariant(part[0]) + part[1..]));
        return word;
    }));
}
