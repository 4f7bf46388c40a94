using System.Buffers.Binary;
using System.Text;

namespace Kvm.Testing;

/// <summary>The drivers of a kernel that has them as modules, in the order in which they can be loaded.</summary>
internal sealed class KernelModules
{
    private readonly string? _folder;
    private readonly Dictionary<string, string> _paths = new(StringComparer.Ordinal);
    private readonly HashSet<string> _builtIn = new(StringComparer.Ordinal);
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);
    private readonly List<GuestFile> _files = [];

    private KernelModules(string? folder)
    {
        _folder = folder;
        if (folder is null)
            return;
        foreach (string path in Directory.EnumerateFiles(folder, "*.ko", SearchOption.AllDirectories))
            _paths[NameOf(path)] = path;
        string builtIn = Path.Combine(folder, "modules.builtin");
        if (File.Exists(builtIn))
            _builtIn.UnionWith(File.ReadLines(builtIn).Select(NameOf));
    }

    /// <summary>What the guest finds in <c>/modules</c>: the modules and all they need, and in <c>load</c> their names, in the order to load them in.</summary>
    /// <param name="folder">The kernel's modules; null for a kernel that has none.</param>
    /// <param name="modules">Names, or paths of files that end in <c>.ko</c>.</param>
    /// <exception cref="GuestException">One is not there, or is no module.</exception>
    public static IReadOnlyList<GuestFile> FilesOf(string? folder, IEnumerable<string> modules)
    {
        var all = new KernelModules(folder);
        foreach (string module in modules)
        {
            bool isFile = module.EndsWith(".ko", StringComparison.Ordinal);
            all.Add(isFile ? NameOf(module) : module.Replace('-', '_'), isFile ? module : null);
        }

        if (all._files.Count == 0)
            return [];
        string order = string.Concat(all._files.Select(file => Path.GetFileName(file.Path) + "\n"));
        return [.. all._files, new GuestFile("modules/load", Encoding.UTF8.GetBytes(order))];
    }

    /// <summary>What a module says it needs: the string "depends=a,b" of its section .modinfo (scripts/mod/modpost.c).</summary>
    /// <param name="module">The file.</param>
    /// <exception cref="InvalidDataException">It is no module.</exception>
    internal static string[] NeedsOf(ReadOnlySpan<byte> module)
    {
        const string key = "depends=";
        foreach (string line in Encoding.UTF8.GetString(ModuleInformation(module)).Split('\0'))
        {
            if (line.StartsWith(key, StringComparison.Ordinal))
                return line[key.Length..].Split(',', StringSplitOptions.RemoveEmptyEntries);
        }

        return [];
    }

    private void Add(string name, string? file)
    {
        if (!_seen.Add(name))
            return;
        string? path = file ?? _paths.GetValueOrDefault(name);
        if (path is null)
        {
            if (_builtIn.Contains(name))
                return;
            throw new GuestException(_folder is null ? $"the module {name} is not here: the image has no ModulesPath" : $"the module {name} is not in {_folder}");
        }

        byte[] content;
        string[] needs;
        try
        {
            content = File.ReadAllBytes(path);
            needs = NeedsOf(content);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw new GuestException($"the module {path} cannot be used: {e.Message}", e);
        }

        foreach (string needed in needs)
            Add(needed.Replace('-', '_'), null);
        _files.Add(new GuestFile($"modules/{name}.ko", content));
    }

    /// <summary>The kernel takes '-' and '_' in names of modules for the same.</summary>
    private static string NameOf(string path) => Path.GetFileNameWithoutExtension(path).Replace('-', '_');

    /// <summary>The content of the section .modinfo (System V ABI, chapter 4, for 64 bits).</summary>
    private static ReadOnlySpan<byte> ModuleInformation(ReadOnlySpan<byte> elf)
    {
        if (!elf.StartsWith("\u007fELF\u0002\u0001"u8))
            throw new InvalidDataException("it is no object file of 64 bits; a compressed module must be unpacked first");
        var header = Part(elf, 0, 64);
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(header[0x28..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(header[0x3a..]), count = BinaryPrimitives.ReadUInt16LittleEndian(header[0x3c..]);
        var sections = Part(elf, table, (ulong)size * (ulong)count);
        int names = BinaryPrimitives.ReadUInt16LittleEndian(header[0x3e..]);
        if (size < 64 || names >= count)
            throw new InvalidDataException("it has no sections");
        var strings = Content(elf, sections[(names * size)..]);
        for (int i = 0; i < count; i++)
        {
            var section = sections[(i * size)..];
            if (strings[(int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(section), (uint)strings.Length)..].StartsWith(".modinfo\0"u8))
                return Content(elf, section);
        }

        throw new InvalidDataException("it has no section .modinfo");
    }

    private static ReadOnlySpan<byte> Content(ReadOnlySpan<byte> elf, ReadOnlySpan<byte> section) =>
        Part(elf, BinaryPrimitives.ReadUInt64LittleEndian(section[0x18..]), BinaryPrimitives.ReadUInt64LittleEndian(section[0x20..]));

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> bytes, ulong start, ulong length)
    {
        if (start > (ulong)bytes.Length || length > (ulong)bytes.Length - start)
            throw new InvalidDataException("it ends too early");
        return bytes.Slice((int)start, (int)length);
    }
}
