using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Assembling;

/// <summary>
/// Other assemblers, where they are installed: nasm, and GNU as with its linker. They run with a folder of their own that is deleted
/// behind them, for a bounded time; what they make is bounded like what ours makes.
/// </summary>
public static partial class ExternalAssembler
{
    private const string SourceName = "lab.source", ObjectName = "lab.object", LinkedName = "lab.elf", ImageName = "lab.bin", MapName = "lab.map";
    private static readonly TimeSpan _limit = TimeSpan.FromSeconds(20);

    /// <summary>Assembles by nasm, as a flat binary; the origin is <c>org</c>'s.</summary>
    /// <exception cref="VmmException">nasm is not installed, or did not do its work (KVM0043).</exception>
    public static AssemblyResult Nasm(string source) => InFolder(source, folder =>
    {
        string text = $"[map all {MapName}]\n{source}";
        File.WriteAllText(Path.Combine(folder, SourceName), text);
        if (Run(folder, "nasm", ["-f", "bin", "-o", ImageName, SourceName]) is { } messages)
            return Failed(messages, -1);
        var map = File.ReadAllLines(Path.Combine(folder, MapName));
        var symbols = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (string line in map)
        {
            if (MapSymbol().Match(line) is { Success: true } found)
                symbols[found.Groups["name"].Value] = Hex(found.Groups["value"].Value);
        }

        int at = Array.FindIndex(map, line => line.Contains("Program origin", StringComparison.Ordinal));
        string? origin = at < 0 ? null : map.Skip(at + 1).FirstOrDefault(line => line.Trim().Length > 0)?.Trim();
        return Made(folder, source, origin is null ? 0 : Hex(origin), symbols);
    });

    /// <summary>Assembles by GNU as and links at the address of a comment <c># org ADDRESS</c>, 0x7c00 without one.</summary>
    /// <exception cref="VmmException">A program is not installed, or did not do its work (KVM0043).</exception>
    public static AssemblyResult Gas(string source) => InFolder(source, folder =>
    {
        File.WriteAllText(Path.Combine(folder, SourceName), source);
        bool wide = BitsOf(source) == 64;
        long origin = GasOrigin().Match(source) is { Success: true } said ? Hex(said.Groups["value"].Value) : Assembler.DefaultOrigin;
        if (Run(folder, "as", [wide ? "--64" : "--32", "-o", ObjectName, SourceName]) is { } mistakes)
            return Failed(mistakes, 0);
        string place = string.Create(CultureInfo.InvariantCulture, $"0x{origin:x}");
        if (Run(folder, "ld", ["-m", wide ? "elf_x86_64" : "elf_i386", "-Ttext", place, "-e", place, "-o", LinkedName, ObjectName]) is { } unlinked)
            return Failed(unlinked, 0);
        if (Run(folder, "objcopy", ["-O", "binary", "-j", ".text", LinkedName, ImageName]) is { } uncopied)
            return Failed(uncopied, 0);
        var symbols = new Dictionary<string, long>(StringComparer.Ordinal);
        Run(folder, "nm", [LinkedName], line =>
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var value, _, var name] && long.TryParse(value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long address))
                symbols[name] = address;
        });
        return Made(folder, source, origin, symbols);
    });

    private static AssemblyResult InFolder(string source, Func<string, AssemblyResult> work)
    {
        ArgumentNullException.ThrowIfNull(source);
        var folder = Directory.CreateTempSubdirectory("kvmsharp-lab-");
        try
        {
            return work(folder.FullName);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static AssemblyResult Made(string folder, string source, long origin, Dictionary<string, long> symbols)
    {
        string path = Path.Combine(folder, ImageName);
        if (!File.Exists(path) || new FileInfo(path).Length > AssemblerLimits.Image || origin is < 0 or > uint.MaxValue)
            throw new VmmException(LabErrors.NoAssembler, $"it made no program of at most {AssemblerLimits.Image:#,0} bytes");
        return new(new AssembledProgram
        {
            Origin = (uint)origin,
            Image = File.ReadAllBytes(path),
            Bits = BitsOf(source),
            Symbols = symbols,
            Listing = [],
            Lines = source.ReplaceLineEndings("\n").Split('\n'),
        }, []);
    }

    private static int BitsOf(string source) =>
        BitsDirective().Match(source) is { Success: true } said ? int.Parse(said.Groups["bits"].Value, CultureInfo.InvariantCulture) : 16;

    private static long Hex(string text) => long.TryParse(text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text[2..] : text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long value) ? value : -1;

    /// <summary>The assembler's own messages, with the lines they name.</summary>
    private static AssemblyResult Failed(List<string> messages, int shift)
    {
        var errors = new List<SourceError>();
        foreach (string message in messages)
        {
            if (Message().Match(message) is { Success: true } found && int.TryParse(found.Groups["line"].Value, CultureInfo.InvariantCulture, out int line) && errors.Count < AssemblerLimits.Errors)
                errors.Add(new SourceError(Math.Max(1, line + shift), 1, VisibleText.Escape(found.Groups["text"].Value)));
        }

        if (errors.Count == 0)
            errors.Add(new SourceError(1, 1, messages.Count > 0 ? VisibleText.Escape(messages[0]) : "the assembler said nothing"));
        return new(null, errors);
    }

    /// <summary>Runs a program in the folder. Null if it was content, else what it said.</summary>
    private static List<string>? Run(string folder, string program, string[] arguments, Action<string>? output = null)
    {
        var said = new List<string>();
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardError = true, RedirectStandardOutput = true };
        try
        {
            using var process = Process.Start(start)!;
            process.ErrorDataReceived += (_, line) => Keep(said, line.Data);
            process.OutputDataReceived += (_, line) =>
            {
                if (line.Data is not null)
                    output?.Invoke(line.Data);
            };
            process.BeginErrorReadLine();
            process.BeginOutputReadLine();
            if (!process.WaitForExit(_limit))
            {
                process.Kill();
                throw new VmmException(LabErrors.NoAssembler, $"{program} did not end within {_limit.TotalSeconds:0} s");
            }

            // The second wait is for the ends of the pipes.
            process.WaitForExit();
            return process.ExitCode == 0 ? null : said;
        }
        catch (Win32Exception e)
        {
            throw new VmmException(LabErrors.NoAssembler, $"{program}: {e.Message}", e);
        }
    }

    private static void Keep(List<string> lines, string? line)
    {
        const int most = 200;
        if (line is { Length: > 0 } && lines.Count < most)
            lines.Add(line.Length > AssemblerLimits.Line ? line[..AssemblerLimits.Line] : line);
    }

    [GeneratedRegex(@"^\s*(?:[0-9A-F]+\s+)?(?<value>[0-9A-F]+)\s+(?<name>[A-Za-z_.@][\w.@]*)\s*$")]
    private static partial Regex MapSymbol();

    [GeneratedRegex(@"^\s*\[?\s*(?:bits\s+|use|\.code)(?<bits>16|32|64)\b", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex BitsDirective();

    [GeneratedRegex(@"^\s*#\s*org\s+(?<value>0x[0-9a-f]+)", RegexOptions.Multiline | RegexOptions.IgnoreCase)]
    private static partial Regex GasOrigin();

    [GeneratedRegex(@"^[^:]*:(?<line>\d+): (?:[Ee]rror: ?)?(?<text>.*)$")]
    private static partial Regex Message();
}
