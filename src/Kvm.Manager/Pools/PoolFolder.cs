using System.Globalization;
using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>A folder of a pool. Its file <c>.kvmsharp-pool</c> says whose it is. Thread-safe: no state.</summary>
/// <param name="path">The folder, from the root on.</param>
internal sealed class PoolFolder(string path)
{
    /// <summary>The file that says whose a folder is.</summary>
    public const string Marker = ".kvmsharp-pool";

    private const int MostMarkerBytes = 4096;

    private static readonly string[] s_probes = [".probe-from", ".probe-to"];

    /// <summary>The folder.</summary>
    public string Path { get; } = path;

    /// <summary>Where a file of it is.</summary>
    public string FileOf(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Whose it is: the pool's id and name; null where nobody has marked it.</summary>
    /// <exception cref="IOException">It is not there, or cannot be read.</exception>
    public (string Id, string Name)? Owner()
    {
        try
        {
            using var file = File.OpenHandle(FileOf(Marker));
            byte[] bytes = new byte[MostMarkerBytes];
            string[] lines = Encoding.UTF8.GetString(bytes, 0, RandomAccess.Read(file, bytes, 0)).Split('\n');
            return (lines[0], lines.Length > 1 ? lines[1] : "");
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Marks it.</summary>
    public void Mark(PoolRecord pool) => DurableFile.Write(FileOf(Marker), Encoding.UTF8.GetBytes($"{pool.Id}\n{pool.Name}\n"));

    /// <summary>Why it cannot be used for a pool, or null.</summary>
    public string? Problem(PoolRecord pool)
    {
        try
        {
            if (!Directory.Exists(Path))
                return "is not there";
            if (Owner() is not { } owner)
                return $"has no file {Marker}: it is not the pool's, or not mounted";
            return owner.Id == pool.Id ? null : $"belongs to the pool {VisibleText.Quote(owner.Name, 64)}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return HostFailureText.Of(e);
        }
    }

    /// <summary>Bytes that are free for this user, and that its file system has.</summary>
    public (ulong Free, ulong Total) Space()
    {
        try
        {
            var drive = new DriveInfo(Path);
            return ((ulong)drive.AvailableFreeSpace, (ulong)drive.TotalSize);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return (0, 0);
        }
    }

    /// <summary>Requests that its disk has right now; 0 where that is not known.</summary>
    public int Load()
    {
        try
        {
            // Of the file with which it is marked: the device of the file system.
            if (ImageFile.Look(FileOf(Marker)) is not { } facts)
                return 0;
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/sys/dev/block/{facts.Device >> 32}:{(uint)facts.Device}/inflight"));
            return text.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Sum(word => int.Parse(word, CultureInfo.InvariantCulture));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or OverflowException)
        {
            return 0;
        }
    }

    /// <summary>Whether files of it can share their blocks, found out with two of them. Under the pool's lock.</summary>
    public bool CanShare()
    {
        string from = FileOf(s_probes[0]), to = FileOf(s_probes[1]);
        try
        {
            RemoveProbes();
            File.WriteAllBytes(from, new byte[4096]);
            return ImageFile.TryShare(from, to);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
        finally
        {
            RemoveProbes();
        }
    }

    /// <summary>Whether somebody left such a file.</summary>
    public bool HasProbe => s_probes.Any(probe => File.Exists(FileOf(probe)));

    /// <summary>Removes what somebody left who was killed while finding that out. Under the pool's lock.</summary>
    public void RemoveProbes()
    {
        foreach (string probe in s_probes)
            File.Delete(FileOf(probe));
    }
}
