using System.CommandLine;
using System.Globalization;

namespace Kvm.Cli.Parsing;

/// <summary><c>--web [PORT]</c>: a page for a browser on this machine.</summary>
internal static class WebOption
{
    /// <summary>The option.</summary>
    public static ValueOption Create(string section, string description) => new("--web", "PORT", section, description) { Alone = "0" };

    /// <summary>The port, 0 for a free one; null where no page is wanted.</summary>
    /// <exception cref="Vmm.VmmException">It is no port.</exception>
    public static int? PortOf(this ValueOption option, ParseResult result) => option.Text(result) is not { } text ? null
        : ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) ? port
        : throw Quantities.Bad("--web", text, "is not a port, 0 to 65535");
}
