namespace Kvm.Labs.Catalog;

/// <summary>Texts and sources of the labs, which are part of the executable.</summary>
internal static class Resources
{
    /// <summary>The text of a resource.</summary>
    public static string Read(string name)
    {
        using var stream = typeof(Resources).Assembly.GetManifestResourceStream("labs/" + name) ?? throw new InvalidOperationException($"there is no {name} in the executable");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
