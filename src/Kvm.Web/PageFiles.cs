namespace Kvm.Web;

/// <summary>The pages' files, which are part of the executable.</summary>
internal static class PageFiles
{
    private static readonly Dictionary<string, string> s_types = new()
    {
        [".html"] = "text/html; charset=utf-8",
        [".css"] = "text/css; charset=utf-8",
        [".js"] = "text/javascript; charset=utf-8",
    };

    /// <summary>A file by its name, with its media type; null where there is none.</summary>
    public static (byte[] Bytes, string Type)? Find(string name)
    {
        if (!s_types.TryGetValue(Path.GetExtension(name), out string? type))
            return null;
        using var stream = typeof(PageFiles).Assembly.GetManifestResourceStream($"pages/{name}");
        if (stream is null)
            return null;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return (bytes, type);
    }
}
