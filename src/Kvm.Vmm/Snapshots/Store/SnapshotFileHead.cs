using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>The beginning of a snapshot in a single file: then comes its pack, then the snapshot's own file.</summary>
/// <param name="Name">What it was called.</param>
/// <param name="PackBytes">Bytes of the pack.</param>
/// <param name="ManifestBytes">Bytes of the snapshot's file.</param>
internal sealed record SnapshotFileHead(string Name, long PackBytes, long ManifestBytes)
{
    public const int Size = 160;
    private const int NameOffset = 64, HashOffset = 128;

    private static ReadOnlySpan<byte> Magic => "KVMSFILE"u8;

    public void Write(Span<byte> to)
    {
        to.Clear();
        Magic.CopyTo(to);
        BinaryPrimitives.WriteUInt16LittleEndian(to[8..], SnapshotFormat.Version);
        BinaryPrimitives.WriteUInt16LittleEndian(to[10..], (ushort)Name.Length);
        BinaryPrimitives.WriteInt64LittleEndian(to[16..], PackBytes);
        BinaryPrimitives.WriteInt64LittleEndian(to[24..], ManifestBytes);
        Encoding.ASCII.GetBytes(Name, to[NameOffset..]);
        SHA256.HashData(to[..HashOffset], to[HashOffset..]);
    }

    /// <summary>Reads one; hostile bytes.</summary>
    /// <param name="from">The first bytes of a file.</param>
    /// <param name="fileLength">Bytes of all of it.</param>
    /// <exception cref="StoreFault">It says what cannot be.</exception>
    public static SnapshotFileHead Read(ReadOnlySpan<byte> from, long fileLength)
    {
        if (from.Length < Size || !from.StartsWith(Magic))
            throw new StoreFault(SnapshotErrors.Damaged, "it does not begin as a snapshot in a file does");
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(from[8..]), nameLength = BinaryPrimitives.ReadUInt16LittleEndian(from[10..]);
        if (version != SnapshotFormat.Version)
            throw StoreFault.OfVersion(version);
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(from[..HashOffset], hash);
        if (!hash.SequenceEqual(from.Slice(HashOffset, 32)))
            throw new StoreFault(SnapshotErrors.Damaged, "the checksum of its beginning is wrong");
        long pack = BinaryPrimitives.ReadInt64LittleEndian(from[16..]), manifest = BinaryPrimitives.ReadInt64LittleEndian(from[24..]), rest = fileLength - Size;
        string name = nameLength <= SnapshotFormat.MostNameLength ? Encoding.Latin1.GetString(from.Slice(NameOffset, nameLength)) : "";
        if (pack < 0 || manifest < 0 || pack > rest || manifest != rest - pack || manifest > SnapshotFormat.MostManifestBytes || !ManifestText.IsName(name))
            throw new StoreFault(SnapshotErrors.Damaged, $"{pack} and {manifest} bytes cannot be in a file of {fileLength} bytes, or its name cannot be one");
        return new SnapshotFileHead(name, pack, manifest);
    }
}
