using System.Globalization;
using Kvm.Vmm.Host;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>
/// What a journal's lines are made of: words with one space between. Names have no spaces (<see cref="VolumeName"/>); what is not there is a dash. Thread-safe: pure functions.
/// </summary>
internal static class PoolEntry
{
    private const string None = "-";

    private static readonly string[] s_formats = ["raw", "qcow2"];

    public static string Of(PoolImage image)
    {
        var facts = image.Facts;
        return string.Create(CultureInfo.InvariantCulture,
            $"image {image.Id} {image.Folder} {image.File} {s_formats[(int)image.Format]} {image.Size} {image.Parent ?? None} {(image.IsFrozen ? 1 : 0)} {facts.Device} {facts.Inode} {facts.Length} {facts.Allocated} {facts.Modified}");
    }

    public static string Of(PoolName name) => string.Create(CultureInfo.InvariantCulture, $"name {name.Name} {name.Image} {name.Created.ToUnixTimeMilliseconds()}");

    public static string Of(PoolIntent intent) => string.Create(CultureInfo.InvariantCulture,
        $"begin {intent.Id} {intent.Owner.Id} {intent.Owner.StartTime} {OrNone(intent.BootId)} {OrNone(intent.Name)} {intent.Promised} {OrNone(intent.Image)} {intent.Size}{string.Concat(intent.Files.Select(file => " " + file))}");

    /// <summary>A name is no more.</summary>
    public static string Unnamed(string name) => $"unname {name}";

    /// <summary>An image's file is no more.</summary>
    public static string Gone(string image) => $"gone {image}";

    /// <summary>What was begun has come to its end, or was cleared away.</summary>
    public static string Ended(string intent) => $"end {intent}";

    /// <summary>Does what an entry says to a catalog.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    public static void Apply(PoolCatalog catalog, string entry)
    {
        switch (entry.Split(' '))
        {
            case ["image", var id, var folder, var file, var format, var size, var parent, var frozen, var device, var inode, var length, var allocated, var modified]:
                var facts = new ImageFacts(Number(device), Number(inode), Number(length), Number(allocated), long.Parse(modified, CultureInfo.InvariantCulture));
                int known = Array.IndexOf(s_formats, format);
                // Its name is a name, not a path out of its folder.
                catalog.Images[id] = known >= 0 && VolumeName.IsFile(file)
                    ? new PoolImage(id, (int)Number(folder), file, (DiskFormat)known, Number(size), parent == None ? null : parent, frozen == "1", facts)
                    : throw new FormatException();
                break;
            case ["name", var name, var image, var created]:
                catalog.Names[name] = new PoolName(name, image, DateTimeOffset.FromUnixTimeMilliseconds(long.Parse(created, CultureInfo.InvariantCulture)));
                break;
            case ["begin", var id, var process, var started, var boot, var name, var promised, var image, var size, .. var files]:
                catalog.Intents[id] = new PoolIntent(id, new HostProcess((int)Number(process), long.Parse(started, CultureInfo.InvariantCulture)), OrEmpty(boot), OrEmpty(name), Number(promised), OrEmpty(image), Number(size), files);
                break;
            case ["unname", var name]:
                catalog.Names.Remove(name);
                break;
            case ["gone", var image]:
                catalog.Images.Remove(image);
                break;
            case ["end", var intent]:
                catalog.Intents.Remove(intent);
                break;
            default:
                throw new FormatException();
        }
    }

    private static ulong Number(string text) => ulong.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

    private static string OrNone(string text) => text.Length == 0 ? None : text;

    private static string OrEmpty(string text) => text == None ? "" : text;
}
