using System.CommandLine;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Parsing;

/// <summary>The options of verbs that work on a store of snapshots, and what they say.</summary>
internal static class StoreOptions
{
    /// <summary>The store's folder.</summary>
    public static ValueOption Store(string section) =>
        new("--store", "FOLDER", section, "The folder of the snapshots; snapshots in the state folder where this is not given.") { Kind = ValueKind.File };

    /// <summary>Where the key comes from; said after what it is for.</summary>
    public static ValueOption Key(string section, string purpose) => new("--key", "SOURCE", section, $"{purpose}: file=FILE, credential=NAME (of systemd) or command=TEXT.");

    /// <summary>How chunks are packed.</summary>
    public static ValueOption Compression(string section, string description) =>
        new("--compression", "NAME", section, description) { Kind = ValueKind.OneOf, Values = ["none", "lz4", "zstd"] };

    /// <summary>The folder given, or that of the state folder.</summary>
    public static string FolderOf(this ValueOption store, ParseResult result) => store.Text(result) ?? Folders.SnapshotsOf(Folders.State);

    /// <summary>The key given, or null. Its command runs, so a person may be asked: once for a verb.</summary>
    public static SnapshotKey? KeyOf(this ValueOption key, ParseResult result) => key.Text(result) is { } source ? SnapshotKey.Load(source) : null;

    /// <summary>The packing given, or another.</summary>
    public static SnapshotCompression CompressionOf(this ValueOption compression, ParseResult result, SnapshotCompression otherwise) =>
        compression.Text(result) is { } text ? (SnapshotCompression)Quantities.OneOf(compression.Name, text, compression.Values) : otherwise;
}
