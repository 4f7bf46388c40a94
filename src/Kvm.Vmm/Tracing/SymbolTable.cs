using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// Names of a guest's code: from an ELF file's symbol table (a vmlinux) or from a System.map. Trusts nothing in the file. Immutable.
/// </summary>
public sealed class SymbolTable
{
    /// <summary>Larger files are refused.</summary>
    public const long MaxFileSize = 1L << 30;

    private const int MaxSymbols = 4 << 20;
    private const int SymbolSize = 24;
    private const int SectionSize = 64;
    private const uint SymbolSection = 2;

    /// <summary>Farther than any function is long: the address belongs to something else, such as a module.</summary>
    private const ulong LongestFunction = 1 << 20;

    private readonly ulong[] _addresses;
    private readonly string[] _names;

    private SymbolTable(List<(ulong Address, string Name)> symbols)
    {
        // Of several names of one address the first of the file.
        var sorted = symbols.OrderBy(symbol => symbol.Address).DistinctBy(symbol => symbol.Address).ToList();
        _addresses = [.. sorted.Select(symbol => symbol.Address)];
        _names = [.. sorted.Select(symbol => symbol.Name)];
    }

    /// <summary>Names there are.</summary>
    public int Count => _names.Length;

    /// <summary>The symbols of the kernel itself, or of the System.map beside it; null where there are none.</summary>
    /// <param name="kernelPath">The kernel's image.</param>
    public static SymbolTable? Beside(string kernelPath)
    {
        ArgumentNullException.ThrowIfNull(kernelPath);
        foreach (string? path in new[] { kernelPath, Completion.SystemMap.Find(kernelPath) })
        {
            try
            {
                if (path is not null && Read(path) is { Count: > 0 } table)
                    return table;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
            {
                // Names are a convenience where nobody asked for them by name.
            }
        }

        return null;
    }

    /// <summary>Reads a file that was asked for.</summary>
    /// <param name="path">An ELF file with symbols, or a System.map.</param>
    /// <exception cref="VmmException">It cannot be read or holds none.</exception>
    public static SymbolTable Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            var table = Read(path);
            return table is { Count: > 0 } ? table : throw new VmmException(UsageErrors.NoSymbols, $"{VisibleText.Quote(path)} holds no symbols of code");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new VmmException(UsageErrors.NoSymbols, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary><c>name+0x12</c>, or null for an address of no known function.</summary>
    /// <param name="address">A linear address.</param>
    public string? Describe(ulong address)
    {
        int at = Array.BinarySearch(_addresses, address);
        if (at < 0)
            at = ~at - 1;
        if (at < 0 || address - _addresses[at] > LongestFunction)
            return null;
        return address == _addresses[at] ? _names[at] : string.Create(CultureInfo.InvariantCulture, $"{_names[at]}+0x{address - _addresses[at]:x}");
    }

    /// <summary>The symbols of bytes that are an ELF file; none where they are not.</summary>
    /// <exception cref="InvalidDataException">The file contradicts itself.</exception>
    internal static SymbolTable FromElf(Stream file)
    {
        var symbols = new List<(ulong, string)>();
        Span<byte> header = stackalloc byte[64];
        if (TryRead(file, 0, header) && header[..4].SequenceEqual("\u007fELF"u8) && header[4] == 2 && header[5] == 1)
        {
            ulong sections = BinaryPrimitives.ReadUInt64LittleEndian(header[40..]);
            int count = BinaryPrimitives.ReadUInt16LittleEndian(header[60..]);
            if (BinaryPrimitives.ReadUInt16LittleEndian(header[58..]) == SectionSize)
                ReadSections(file, sections, count, symbols);
        }

        return new SymbolTable(symbols);
    }

    /// <summary>The symbols of lines such as <c>ffffffff81000000 T _text</c>, in any order.</summary>
    internal static SymbolTable FromMap(IEnumerable<string> lines)
    {
        var symbols = new List<(ulong, string)>();
        foreach (string line in lines.Take(MaxSymbols))
        {
            string[] parts = line.Split(' ', 3);
            if (parts.Length == 3 && parts[1] is "T" or "t" or "W" or "w"
                && ulong.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong start))
            {
                symbols.Add((start, VisibleText.Escape(parts[2].Length > 256 ? parts[2][..256] : parts[2])));
            }
        }

        return new SymbolTable(symbols);
    }

    private static SymbolTable? Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        if (file.Length > MaxFileSize)
            throw new InvalidDataException("it is too large");
        Span<byte> magic = stackalloc byte[4];
        if (TryRead(file, 0, magic) && magic.SequenceEqual("\u007fELF"u8))
            return FromElf(file);
        // Text begins with an address: a compressed kernel does not.
        return char.IsAsciiHexDigit((char)magic[0]) && char.IsAsciiHexDigit((char)magic[3]) ? FromMap(File.ReadLines(path)) : null;
    }

    private static void ReadSections(Stream file, ulong sections, int count, List<(ulong, string)> symbols)
    {
        Span<byte> section = stackalloc byte[SectionSize];
        Span<byte> strings = stackalloc byte[SectionSize];
        for (int i = 0; i < count; i++)
        {
            if (!TryRead(file, sections + ((ulong)i * SectionSize), section) || BinaryPrimitives.ReadUInt32LittleEndian(section[4..]) != SymbolSection)
                continue;
            uint link = BinaryPrimitives.ReadUInt32LittleEndian(section[40..]);
            if (link >= count || !TryRead(file, sections + (link * (ulong)SectionSize), strings))
                throw new InvalidDataException("its symbol table has no names");
            byte[] table = Content(file, section);
            byte[] names = Content(file, strings);
            ReadSymbols(table, names, symbols);
        }
    }

    private static void ReadSymbols(byte[] table, byte[] names, List<(ulong, string)> symbols)
    {
        const int function = 2;
        for (int at = 0; at <= table.Length - SymbolSize && symbols.Count < MaxSymbols; at += SymbolSize)
        {
            var symbol = table.AsSpan(at, SymbolSize);
            uint name = BinaryPrimitives.ReadUInt32LittleEndian(symbol);
            ushort section = BinaryPrimitives.ReadUInt16LittleEndian(symbol[6..]);
            int type = symbol[4] & 15;
            // Functions, and labels of assembly, which have no type; not what is defined elsewhere or absolute.
            if (type is not (0 or function) || section is 0 or >= 0xff00 || name >= names.Length)
                continue;
            int length = names.AsSpan((int)name).IndexOf((byte)0);
            if (length is > 0 and <= 256)
                symbols.Add((BinaryPrimitives.ReadUInt64LittleEndian(symbol[8..]), VisibleText.Escape(Encoding.UTF8.GetString(names, (int)name, length))));
        }
    }

    private static byte[] Content(Stream file, ReadOnlySpan<byte> section)
    {
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(section[24..]), size = BinaryPrimitives.ReadUInt64LittleEndian(section[32..]);
        if (offset > (ulong)file.Length || size > (ulong)file.Length - offset || size > int.MaxValue)
            throw new InvalidDataException("a section reaches past its end");
        byte[] content = new byte[size];
        return TryRead(file, offset, content) ? content : throw new InvalidDataException("a section reaches past its end");
    }

    private static bool TryRead(Stream file, ulong offset, Span<byte> to)
    {
        if (offset > (ulong)file.Length || (ulong)to.Length > (ulong)file.Length - offset)
            return false;
        file.Position = (long)offset;
        file.ReadExactly(to);
        return true;
    }
}
