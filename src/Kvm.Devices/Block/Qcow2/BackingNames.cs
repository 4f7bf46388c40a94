namespace Kvm.Devices.Block.Qcow2;

/// <summary>Names of backing files that are a path of this host, and no more.</summary>
internal static class BackingNames
{
    /// <summary>What is wrong with a name, or null.</summary>
    public static string? ProblemOf(string name)
    {
        if (name.Length == 0)
            return "is empty";
        if (name.Contains('\0', StringComparison.Ordinal))
            return "contains a zero byte";
        if (name.StartsWith("json:", StringComparison.OrdinalIgnoreCase))
            return "is a json: description, not a path";
        // As other programs read it: what comes before the first colon is a protocol, if no slash comes before that.
        int colon = name.IndexOf(':', StringComparison.Ordinal), slash = name.IndexOf('/', StringComparison.Ordinal);
        return colon >= 0 && (slash < 0 || colon < slash) ? "names a protocol, not a path" : null;
    }
}
