using System.Buffers;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Pools;

/// <summary>A storage pool: the folders that its volumes are spread over. Immutable.</summary>
/// <param name="Id">An id that no other pool has.</param>
/// <param name="Name">Its name.</param>
/// <param name="Folders">Its folders; volumes name them by their places, which do not change.</param>
/// <param name="Quota">Bytes that its volumes may come to take at most; null for any number.</param>
public sealed record PoolRecord(string Id, string Name, IReadOnlyList<string> Folders, ulong? Quota)
{
    private const int Version = 1, MostBytes = 1 << 20, MostDepth = 8;

    /// <summary>The most folders.</summary>
    public const int MostFolders = 64;

    internal byte[] ToBytes()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("version", Version);
            json.WriteString("id", Id);
            json.WriteString("name", Name);
            json.WriteStartArray("folders");
            foreach (string folder in Folders)
                json.WriteStringValue(folder);
            json.WriteEndArray();
            if (Quota is { } quota)
                json.WriteNumber("quota", quota);
            else
                json.WriteNull("quota");
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Reads a pool's record; null where there is none.</summary>
    /// <exception cref="VmmException">KVM0644: it cannot be understood.</exception>
    internal static PoolRecord? TryLoad(string path, string name)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            byte[] bytes = new byte[Math.Min(RandomAccess.GetLength(file), MostBytes)];
            int count = RandomAccess.Read(file, bytes, 0);
            using var document = JsonDocument.Parse(bytes.AsMemory(0, count), new JsonDocumentOptions { MaxDepth = MostDepth });
            var root = document.RootElement;
            if (root.GetProperty("version").GetInt32() > Version)
                throw new VmmException(PoolErrors.BadCatalog, $"the record of the pool {name} is of a later version");
            var record = new PoolRecord(root.GetProperty("id").GetString()!, root.GetProperty("name").GetString()!, [.. root.GetProperty("folders").EnumerateArray().Select(folder => folder.GetString()!)],
                root.GetProperty("quota") is { ValueKind: JsonValueKind.Number } quota ? quota.GetUInt64() : null);
            return record.Name == name ? record : throw new VmmException(PoolErrors.BadCatalog, $"the record of the pool {name} is that of {VisibleText.Quote(record.Name, 64)}");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IOException or UnauthorizedAccessException)
        {
            throw new VmmException(PoolErrors.BadCatalog, $"{VisibleText.Quote(path, 200)}: {(e is IOException or UnauthorizedAccessException ? HostFailureText.Of(e) : "it is no record of a pool")}", e);
        }
    }
}
