using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>The head and the foot of a pack: many chunks in one file, with an index behind them.</summary>
internal static class PackFormat
{
    public const int HeaderSize = 96, FooterSize = 64;
    private const int Hashed = 32;
    private const ushort Encrypted = 1;

    private static ReadOnlySpan<byte> HeaderMagic => "KVMSPACK"u8;

    private static ReadOnlySpan<byte> FooterMagic => "KVMSPEND"u8;

    public static void WriteHeader(Span<byte> to, StoreId id, SnapshotKey? key, ReadOnlySpan<byte> salt)
    {
        to.Clear();
        HeaderMagic.CopyTo(to);
        BinaryPrimitives.WriteUInt16LittleEndian(to[8..], SnapshotFormat.Version);
        BinaryPrimitives.WriteUInt16LittleEndian(to[10..], key is null ? (ushort)0 : Encrypted);
        id.Write(to[16..]);
        if (key is null)
            return;
        key.Check.CopyTo(to[32..]);
        salt.CopyTo(to[48..]);
    }

    /// <summary>Reads a head.</summary>
    /// <returns>The pack's id, and its salt: empty where it is not encrypted.</returns>
    /// <exception cref="StoreFault">It is none, of a later version, or of another key.</exception>
    public static (StoreId Id, byte[] Salt) ReadHeader(ReadOnlySpan<byte> from, SnapshotKey? key)
    {
        if (!from.StartsWith(HeaderMagic))
            throw new StoreFault(SnapshotErrors.Damaged, "it does not begin as a pack does");
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(from[8..]), flags = BinaryPrimitives.ReadUInt16LittleEndian(from[10..]);
        if (version != SnapshotFormat.Version)
            throw StoreFault.OfVersion(version);
        if ((flags & ~Encrypted) != 0)
            throw new StoreFault(SnapshotErrors.LaterVersion, $"flags {flags:x}");
        if (flags == 0)
            return (StoreId.Read(from[16..]), []);
        if (key is null || !from.Slice(32, SnapshotKey.CheckSize).SequenceEqual(key.Check))
            throw new StoreFault(SnapshotErrors.WrongKey, key is null ? "it is encrypted, and no key was given" : "it is encrypted with another key");
        return (StoreId.Read(from[16..]), from.Slice(48, SnapshotKey.SaltSize).ToArray());
    }

    public static void WriteFooter(Span<byte> to, ReadOnlySpan<byte> header, ReadOnlySpan<byte> index, ulong indexOffset)
    {
        to.Clear();
        FooterMagic.CopyTo(to);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], indexOffset);
        BinaryPrimitives.WriteUInt64LittleEndian(to[16..], (ulong)(index.Length / PackEntry.Size));
        Hash(header, index, to[..Hashed], to[Hashed..]);
    }

    /// <summary>Reads a foot: where the index begins and how many entries it has.</summary>
    /// <param name="from">The bytes.</param>
    /// <param name="length">Bytes of the whole pack.</param>
    public static (ulong IndexOffset, int Count) ReadFooter(ReadOnlySpan<byte> from, ulong length)
    {
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(from[8..]), count = BinaryPrimitives.ReadUInt64LittleEndian(from[16..]);
        ulong room = length - HeaderSize - FooterSize;
        bool possible = from.StartsWith(FooterMagic) && count <= int.MaxValue / PackEntry.Size && offset >= HeaderSize && offset - HeaderSize <= room
            && count * PackEntry.Size == room - (offset - HeaderSize);
        return possible ? (offset, (int)count) : throw new StoreFault(SnapshotErrors.Damaged, "its index cannot be where it says");
    }

    public static bool IsHashRight(ReadOnlySpan<byte> header, ReadOnlySpan<byte> index, ReadOnlySpan<byte> footer)
    {
        Span<byte> hash = stackalloc byte[32];
        Hash(header, index, footer[..Hashed], hash);
        return hash.SequenceEqual(footer.Slice(Hashed, 32));
    }

    private static void Hash(ReadOnlySpan<byte> header, ReadOnlySpan<byte> index, ReadOnlySpan<byte> footer, Span<byte> to)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(header);
        hash.AppendData(index);
        hash.AppendData(footer);
        hash.GetHashAndReset(to);
    }
}

/// <summary>What is wrong with a file of a store, before anybody has said which file it is.</summary>
internal sealed class StoreFault(ErrorInfo error, string detail) : Exception(detail)
{
    public ErrorInfo Error { get; } = error;

    public static StoreFault OfVersion(ushort version) => version > SnapshotFormat.Version
        ? new StoreFault(SnapshotErrors.LaterVersion, $"its format has version {version}, the last known here is {SnapshotFormat.Version}")
        : new StoreFault(SnapshotErrors.Damaged, $"there is no version {version} of the format");

    /// <summary>The same, of a file.</summary>
    public VmmException In(string path) => new(Error, $"{Configuration.VisibleText.Quote(path)}: {Message}", this);
}
