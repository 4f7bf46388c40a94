using System.Globalization;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>Where a debugger is waited for, and how: what <c>--gdb</c> says.</summary>
/// <param name="Port">A port of 127.0.0.1, 0 for any free one; where there is no <paramref name="Path"/>.</param>
/// <param name="Path">A Unix socket, or null.</param>
/// <param name="Wait">Whether the guest waits for it at its first instruction.</param>
/// <param name="Wide">Whether gdb is told of an x86-64, or of a 32-bit processor.</param>
public sealed record GdbEndpoint(int Port, string? Path, bool Wait = true, bool Wide = true)
{
    /// <summary>Reads <c>PORT</c>, <c>unix:PATH</c> or <c>PATH</c> (with a slash), and after commas <c>nowait</c> and <c>i386</c>.</summary>
    /// <returns>Null, or what is wrong with it, to follow the option's name.</returns>
    public static string? Parse(string text, out GdbEndpoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(text);
        endpoint = new GdbEndpoint(0, null);
        string[] parts = text.Split(',');
        foreach (string word in parts[1..])
        {
            switch (word)
            {
                case "nowait":
                    endpoint = endpoint with { Wait = false };
                    break;
                case "i386":
                    endpoint = endpoint with { Wide = false };
                    break;
                default:
                    return $"has '{word}' behind a comma, where only nowait and i386 can be";
            }
        }

        string where = parts[0];
        bool isPath = where.StartsWith("unix:", StringComparison.Ordinal);
        if (isPath)
            where = where["unix:".Length..];
        if (isPath || where.Contains('/'))
        {
            endpoint = endpoint with { Path = where };
            return where.Length == 0 ? "names no path" : null;
        }

        if (!ushort.TryParse(where, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port))
            return "is neither a port (0 to 65535), nor unix:PATH, nor a path with a slash";
        endpoint = endpoint with { Port = port };
        return null;
    }
}
