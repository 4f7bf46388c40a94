using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Parsing;

/// <summary>Which exits <c>trace</c> shows, and in which form.</summary>
internal sealed class TraceOptions
{
    private const string Shown = "What is shown";
    private const string Form = "Form";

    private readonly ValueOption _only = new("--only", "LIST", Shown, $"Exits of these reasons, with commas between them: {string.Join(", ", TraceFilter.ReasonNames)}.");
    private readonly ValueOption _ports = new("--exit-port", "LIST", Shown, "Exits for these ports, such as 0x3f8-0x3ff,0x60.");
    private readonly ValueOption _addresses = new("--exit-address", "LIST", Shown, "Exits for these guest-physical addresses, such as 0xfee00000-0xfee00fff.");
    private readonly ValueOption _from = new("--from", "N", Shown, "Begins with the exit of this number. [default: 1]");
    private readonly ValueOption _count = new("--count", "N", Shown, "Shows so many exits; then the run ends.");
    private readonly ValueOption _format = new("--format", "NAME", Form, "text for people, json (an object a line), chrome (for chrome://tracing and Perfetto), binary (for --replay), html (a page for a browser). [default: text]")
    { Kind = ValueKind.OneOf, Values = TraceFormats.Names };
    private readonly ValueOption _output = new("--output", "FILE", Form, "Where it goes, else standard output; FILE,size=SIZE is its longest, 1G where nothing is said.") { Kind = ValueKind.File };
    private readonly ValueOption _symbols = new("--symbols", "FILE", Form, "Names of the guest's code: a vmlinux or a System.map, where KERNEL has none and none lies beside it.") { Kind = ValueKind.File };

    /// <summary>The options in the order of the help text.</summary>
    public IReadOnlyList<Option> All => [_only, _ports, _addresses, _from, _count, _format, _output, _symbols];

    /// <summary>Which exits are shown.</summary>
    /// <exception cref="VmmException">A value was not understood.</exception>
    public TraceFilter Filter(ParseResult result) => new()
    {
        Only = _only.Text(result) is { } only ? Reasons(only) : [],
        Ports = _ports.Text(result) is { } ports ? Ranges("--exit-port", ports, ushort.MaxValue) : [],
        Addresses = _addresses.Text(result) is { } addresses ? Ranges("--exit-address", addresses, ulong.MaxValue - 1) : [],
        From = _from.Text(result) is { } from ? Number("--from", from) : 1,
        Count = _count.Text(result) is { } count ? Number("--count", count) : long.MaxValue,
    };

    /// <summary>The form; <c>--json</c> is one too.</summary>
    /// <exception cref="VmmException">It is none, or two.</exception>
    public TraceFormat Format(ParseResult result, bool json)
    {
        if (_format.Text(result) is not { } name)
            return json ? TraceFormat.Json : TraceFormat.Text;
        var format = (TraceFormat)Quantities.OneOf("--format", name, TraceFormats.Names);
        return json && format != TraceFormat.Json ? throw new VmmException(UsageErrors.Conflict, $"--json is --format json, and {name} another one") : format;
    }

    /// <summary>The file and its longest size; null for standard output.</summary>
    /// <exception cref="VmmException">The value was not understood.</exception>
    public (string Path, long Most)? Output(ParseResult result)
    {
        if (_output.Text(result) is not { } text)
            return null;
        return Vmm.Network.CaptureConfig.Parse(text, out var file) is { } problem ? throw Quantities.Bad("--output", text, problem) : (file.Path, file.MaxBytes);
    }

    /// <summary>Whether the command line says which form, or where to.</summary>
    public bool NamesForm(ParseResult result) => _format.Text(result) is not null || _output.Text(result) is not null;

    /// <summary>The symbols that were asked for; null where none were.</summary>
    public SymbolTable? Symbols(ParseResult result) => _symbols.Text(result) is { } path ? SymbolTable.Load(path) : null;

    private static List<string> Reasons(string text)
    {
        List<string> names = [.. text.Split(',')];
        foreach (string name in names)
            Quantities.OneOf("--only", name, TraceFilter.ReasonNames);
        return names;
    }

    private static List<AddressRange> Ranges(string option, string text, ulong last)
    {
        var ranges = new List<AddressRange>();
        foreach (string part in text.Split(','))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !TryAddress(ends[0], out ulong first) || !TryAddress(ends[^1], out ulong end) || first > end || end > last)
                throw Quantities.Bad(option, text, $"has the part {VisibleText.Quote(part, 40)}, which is no address or range of them");
            ranges.Add(new AddressRange(first, end - first + 1));
        }

        return ranges;
    }

    private static bool TryAddress(string text, out ulong address) => text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
        ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address)
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out address);

    private static long Number(string option, string text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number > 0 ? number : throw Quantities.Bad(option, text, "is not a number from 1 on");
}
