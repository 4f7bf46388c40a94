using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Http;

/// <summary>Says which member of a body is not known, or there twice, and which one may have been meant. Thread-safe: pure functions.</summary>
internal static class JsonMembers
{
    /// <summary>Looks at a value and all within it whose form is known.</summary>
    /// <param name="value">The value.</param>
    /// <param name="form">Its form; null where anything goes, but nothing twice.</param>
    /// <param name="path">Where it stands, for messages.</param>
    /// <exception cref="ApiRefusal">400: a member is not known, or there twice.</exception>
    public static void Check(JsonElement value, JsonTypeInfo? form, string path = "the body")
    {
        if (value.ValueKind == JsonValueKind.Array)
        {
            var element = form?.Kind == JsonTypeInfoKind.Enumerable ? TypeOf(form, form.ElementType) : null;
            int index = 0;
            foreach (var item in value.EnumerateArray())
                Check(item, element, $"{path}[{index++}]");
        }
        else if (value.ValueKind == JsonValueKind.Object)
        {
            CheckObject(value, form, path);
        }
    }

    private static void CheckObject(JsonElement value, JsonTypeInfo? form, string path)
    {
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach (var member in value.EnumerateObject())
        {
            if (!seen.Add(member.Name))
                throw new ApiRefusal(400, ApiErrors.BadRequest, $"{path} has {VisibleText.Quote(member.Name, 64)} twice");
            Check(member.Value, form?.Kind switch
            {
                JsonTypeInfoKind.Object => TypeOf(form, Known(form, member.Name, path).PropertyType),
                JsonTypeInfoKind.Dictionary => TypeOf(form, form.ElementType),
                _ => null,
            }, path == "the body" ? VisibleText.Escape(member.Name) : $"{path}.{VisibleText.Escape(member.Name)}");
        }
    }

    private static JsonPropertyInfo Known(JsonTypeInfo form, string name, string path)
    {
        foreach (var property in form.Properties)
        {
            if (property.Name == name)
                return property;
        }

        string shown = VisibleText.Quote(name, 64);
        throw new ApiRefusal(400, ApiErrors.BadRequest, NearestName.Find(name, form.Properties.Select(property => property.Name)) is { } near
            ? $"{path} does not have {shown}; did you mean {near}?"
            : $"{path} does not have {shown}; it has {string.Join(", ", form.Properties.Select(property => property.Name))}");
    }

    /// <summary>The form of a part; null for values that are taken as they are.</summary>
    private static JsonTypeInfo? TypeOf(JsonTypeInfo form, Type? part) => part is not null && form.Options.TryGetTypeInfo(part, out var found) ? found : null;
}
