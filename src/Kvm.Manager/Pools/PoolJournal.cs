using System.Globalization;
using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Pools;

/// <summary>
/// A pool's journal: a file that lines are added to, each a change as a whole (entries with "; " between), behind a checksum. A line that is not whole at the end
/// is one that somebody did not finish, and is as if it were not there. Written under the pool's lock; read by anybody.
/// </summary>
/// <param name="path">The file.</param>
internal sealed class PoolJournal(string path)
{
    private const string Header = "kvmsharp-pool-journal 1";
    private const string Between = "; ";
    private const int MostBytes = 256 << 20;
    private const int ChecksumLength = 16;

    private long _whole;
    private int _lines;

    /// <summary>Reads all of it.</summary>
    /// <exception cref="VmmException">KVM0644: it was damaged.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public PoolCatalog Read()
    {
        var catalog = new PoolCatalog();
        (_whole, _lines) = (0, 0);
        string text;
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            long length = RandomAccess.GetLength(file);
            if (length > MostBytes)
                throw Bad($"has {length} bytes");
            byte[] bytes = new byte[length];
            text = Encoding.Latin1.GetString(bytes, 0, RandomAccess.Read(file, bytes, 0));
        }
        catch (FileNotFoundException)
        {
            return catalog;
        }

        for (int end; (end = text.IndexOf('\n', (int)_whole)) >= 0; _whole = end + 1)
        {
            string line = text[(int)_whole..end];
            if (!TryApply(catalog, line))
            {
                // Only the last line may be cut short: whoever writes the next one writes over it.
                if (text.IndexOf('\n', end + 1) >= 0)
                    throw Bad(string.Create(CultureInfo.InvariantCulture, $"has a line {_lines + 1} that is damaged: {VisibleText.Quote(line, 60)}"));
                break;
            }

            _lines++;
        }

        return catalog.Problem() is { } problem ? throw Bad($"contradicts itself: {problem}") : catalog;
    }

    /// <summary>Adds a change and does it to the catalog that was read last.</summary>
    /// <param name="catalog">What <see cref="Read"/> gave.</param>
    /// <param name="lasts">It is on the disk when this returns.</param>
    /// <param name="entries">The change.</param>
    /// <exception cref="IOException">It cannot be written; then it is as if it had not been.</exception>
    public void Add(PoolCatalog catalog, bool lasts, params IReadOnlyList<string> entries)
    {
        string line = (_whole == 0 ? Line([Header]) : "") + Line(entries);
        using (var file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete))
        {
            // What somebody did not finish goes first: it may be longer than what is written now.
            if (RandomAccess.GetLength(file) > _whole)
                RandomAccess.SetLength(file, _whole);
            RandomAccess.Write(file, Encoding.Latin1.GetBytes(line), _whole);
            if (lasts)
                RandomAccess.FlushToDisk(file);
        }

        _whole += line.Length;
        _lines++;
        foreach (string entry in entries)
            PoolEntry.Apply(catalog, entry);
    }

    /// <summary>Writes it anew where most of it is of the past.</summary>
    public void Compact(PoolCatalog catalog)
    {
        if (_lines <= 64 + (4 * (catalog.Images.Count + catalog.Names.Count + catalog.Intents.Count)))
            return;
        var text = new StringBuilder(Line([Header]));
        foreach (string entry in catalog.Images.Values.Select(PoolEntry.Of).Concat(catalog.Names.Values.Select(PoolEntry.Of)).Concat(catalog.Intents.Values.Select(PoolEntry.Of)))
            text.Append(Line([entry]));
        DurableFile.Write(path, Encoding.Latin1.GetBytes(text.ToString()));
    }

    private static string Line(IReadOnlyList<string> entries)
    {
        string body = string.Join(Between, entries);
        return $"{Checksum(body):x16} {body}\n";
    }

    private bool TryApply(PoolCatalog catalog, string line)
    {
        if (line.Length <= ChecksumLength || line[ChecksumLength] != ' ' || !ulong.TryParse(line.AsSpan(0, ChecksumLength), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong sum)
            || sum != Checksum(line.AsSpan(ChecksumLength + 1)))
            return false;
        string body = line[(ChecksumLength + 1)..];
        if (_whole == 0)
            return body == Header ? true : throw Bad($"is of another version: {VisibleText.Quote(body, 60)}");
        try
        {
            foreach (string entry in body.Split(Between))
                PoolEntry.Apply(catalog, entry);
            return true;
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentOutOfRangeException)
        {
            // Whole, and yet not understood: no accident.
            throw Bad(string.Create(CultureInfo.InvariantCulture, $"has a line {_lines + 1} that this program does not know: {VisibleText.Quote(body, 60)}"));
        }
    }

    private VmmException Bad(string what) => new(PoolErrors.BadCatalog, $"{VisibleText.Quote(path, 200)} {what}");

    // FNV-1a: against accidents.
    private static ulong Checksum(ReadOnlySpan<char> text)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in text)
            hash = (hash ^ c) * 1099511628211;
        return hash;
    }
}
