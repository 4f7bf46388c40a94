using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// What a chunk is called: 32 bytes computed from its content alone, SHA-256, or under a key HMAC-SHA256. Whoever finds two contents of one id could put
/// one machine's memory into another's, so it is a hash that nobody can do that with.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct ChunkId(ulong A, ulong B, ulong C, ulong D)
{
    public const int Size = 32;

    /// <summary>The id of a content.</summary>
    /// <param name="content">The bytes, not compressed.</param>
    /// <param name="key">The key of an encrypted store; empty: none.</param>
    public static ChunkId Of(ReadOnlySpan<byte> content, ReadOnlySpan<byte> key)
    {
        Span<byte> hash = stackalloc byte[Size];
        if (key.IsEmpty)
            SHA256.HashData(content, hash);
        else
            HMACSHA256.HashData(key, content, hash);
        return Read(hash);
    }

    /// <summary>The id in 32 bytes of a file.</summary>
    public static ChunkId Read(ReadOnlySpan<byte> from) => new(
        BinaryPrimitives.ReadUInt64BigEndian(from), BinaryPrimitives.ReadUInt64BigEndian(from[8..]),
        BinaryPrimitives.ReadUInt64BigEndian(from[16..]), BinaryPrimitives.ReadUInt64BigEndian(from[24..]));

    /// <summary>Writes the 32 bytes.</summary>
    public void Write(Span<byte> to)
    {
        BinaryPrimitives.WriteUInt64BigEndian(to, A);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], B);
        BinaryPrimitives.WriteUInt64BigEndian(to[16..], C);
        BinaryPrimitives.WriteUInt64BigEndian(to[24..], D);
    }

    /// <summary>The order of the bytes.</summary>
    public int CompareTo(in ChunkId other)
    {
        int order = A.CompareTo(other.A);
        if (order == 0)
            order = B.CompareTo(other.B);
        if (order == 0)
            order = C.CompareTo(other.C);
        return order != 0 ? order : D.CompareTo(other.D);
    }

    // Every bit of a hash is as good as any other.
    public override int GetHashCode() => (int)A;

    public override string ToString() => $"{A:x16}{B:x16}…";
}

/// <summary>16 random bytes that name a pack or a snapshot for ever.</summary>
internal readonly record struct StoreId(ulong A, ulong B)
{
    public const int Size = 16;

    public bool IsNone => (A | B) == 0;

    public static StoreId New()
    {
        Span<byte> bytes = stackalloc byte[Size];
        RandomNumberGenerator.Fill(bytes);
        return Read(bytes);
    }

    public static StoreId Read(ReadOnlySpan<byte> from) => new(BinaryPrimitives.ReadUInt64BigEndian(from), BinaryPrimitives.ReadUInt64BigEndian(from[8..]));

    public static bool TryParse(string text, out StoreId id)
    {
        id = default;
        if (text.Length != 2 * Size || !ulong.TryParse(text.AsSpan(0, 16), System.Globalization.NumberStyles.AllowHexSpecifier, null, out ulong a)
            || !ulong.TryParse(text.AsSpan(16), System.Globalization.NumberStyles.AllowHexSpecifier, null, out ulong b))
            return false;
        id = new StoreId(a, b);
        return true;
    }

    public void Write(Span<byte> to)
    {
        BinaryPrimitives.WriteUInt64BigEndian(to, A);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], B);
    }

    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => $"{A:x16}{B:x16}";
}
