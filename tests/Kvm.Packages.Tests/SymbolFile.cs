using System.IO.Compression;
using System.Reflection.Metadata;
using System.Text;

namespace Kvm.Packages.Tests;

/// <summary>What is said in a portable symbol file (the Portable PDB format).</summary>
internal static class SymbolFile
{
    /// <summary>The kind of custom debug information that holds a source link's JSON.</summary>
    private static readonly Guid s_sourceLink = new("CC110556-A091-4D38-9FEC-25AB9A351A6A");

    /// <summary>The source files.</summary>
    public static IReadOnlyList<string> Documents(ZipArchiveEntry file) =>
        Read(file, reader => reader.Documents.Select(handle => reader.GetString(reader.GetDocument(handle).Name)).ToList());

    /// <summary>Where the sources can be fetched from, as JSON; null where it is not said.</summary>
    public static string? SourceLink(ZipArchiveEntry file) => Read(file, reader => reader.GetCustomDebugInformation(EntityHandle.ModuleDefinition)
        .Select(reader.GetCustomDebugInformation).Where(information => reader.GetGuid(information.Kind) == s_sourceLink)
        .Select(information => Encoding.UTF8.GetString(reader.GetBlobBytes(information.Value))).SingleOrDefault());

    private static T Read<T>(ZipArchiveEntry file, Func<MetadataReader, T> read)
    {
        using var content = new MemoryStream();
        using (var packed = file.Open())
            packed.CopyTo(content);
        content.Position = 0;
        using var provider = MetadataReaderProvider.FromPortablePdbStream(content);
        return read(provider.GetMetadataReader());
    }
}
