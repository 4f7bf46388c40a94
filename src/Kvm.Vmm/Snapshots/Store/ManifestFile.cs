using System.Security.Cryptography;
using Kvm.Devices.Snapshot;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>A snapshot's file as bytes: head, packs, body, with a checksum over all, the body encrypted where there is a key.</summary>
internal static class ManifestFile
{
    /// <summary>All bytes of the file.</summary>
    /// <param name="manifest">What it says; of its head the key's check, the salt and the body's length are made here.</param>
    /// <param name="key">Encrypts it, or null.</param>
    public static byte[] Encode(Manifest manifest, SnapshotKey? key)
    {
        var writer = new StateWriter();
        manifest.WriteBody(writer);
        return Encode(manifest.Head, writer.Written, key);
    }

    public static byte[] Encode(ManifestHead head, ReadOnlySpan<byte> body, SnapshotKey? key)
    {
        head = head with
        {
            KeyCheck = key?.Check ?? [],
            Salt = key is null ? [] : RandomNumberGenerator.GetBytes(SnapshotKey.SaltSize),
            BodyBytes = body.Length + (key is null ? 0 : SnapshotFormat.TagSize),
        };
        byte[] file = new byte[head.HeadBytes + head.BodyBytes];
        head.Write(file.AsSpan(0, head.HeadBytes));
        var place = file.AsSpan(head.HeadBytes);
        if (key is null)
        {
            body.CopyTo(place);
        }
        else
        {
            // The salt, and with it the key, is new for every writing: the nonce may be the same.
            using var cipher = key.CipherOf(head.Salt);
            cipher.Encrypt(new byte[SnapshotFormat.NonceSize], body, place[..body.Length], place[body.Length..], file.AsSpan(0, head.HeadBytes));
        }

        Hash(file, file.AsSpan(ManifestHead.HashOffset, 32));
        return file;
    }

    /// <summary>Reads all of a file.</summary>
    /// <exception cref="StoreFault">It is damaged, of a later version, or of another key.</exception>
    public static Manifest Decode(ReadOnlySpan<byte> file, SnapshotKey? key)
    {
        var head = DecodeHead(file);
        if (!head.IsEncrypted)
            return Manifest.Read(head, file[head.HeadBytes..]);
        if (key is null || !head.KeyCheck.AsSpan().SequenceEqual(key.Check))
            throw new StoreFault(SnapshotErrors.WrongKey, key is null ? "it is encrypted, and no key was given" : "it is encrypted with another key");
        return Manifest.Read(head, Decrypt(file, head, key));
    }

    /// <summary>Reads the head of a whole file, for which no key is needed.</summary>
    /// <exception cref="StoreFault">It is damaged, or of a later version.</exception>
    public static ManifestHead DecodeHead(ReadOnlySpan<byte> file)
    {
        var head = ManifestHead.Read(file, file.Length);
        Span<byte> hash = stackalloc byte[32];
        Hash(file, hash);
        return file.Slice(ManifestHead.HashOffset, 32).SequenceEqual(hash) ? head : throw new StoreFault(SnapshotErrors.Damaged, "its checksum is wrong");
    }

    /// <summary>Bytes of a file; not more than a snapshot's may have.</summary>
    public static byte[] ReadAll(IStoreFile file)
    {
        long length = file.Length;
        if (length is < ManifestHead.Size or > SnapshotFormat.MostManifestBytes)
            throw new StoreFault(SnapshotErrors.Damaged, $"a file of {length} bytes is none of a snapshot");
        byte[] bytes = GC.AllocateUninitializedArray<byte>((int)length);
        return file.ReadAt(0, bytes) == bytes.Length ? bytes : throw new StoreFault(SnapshotErrors.Damaged, "it is cut short");
    }

    private static byte[] Decrypt(ReadOnlySpan<byte> file, ManifestHead head, SnapshotKey key)
    {
        var sealedBody = file[head.HeadBytes..];
        if (sealedBody.Length < SnapshotFormat.TagSize)
            throw new StoreFault(SnapshotErrors.Damaged, "it is cut short");
        // What is authenticated is the head without its checksum, as it was when the body was encrypted.
        byte[] associated = file[..head.HeadBytes].ToArray();
        associated.AsSpan(ManifestHead.HashOffset, 32).Clear();
        byte[] body = new byte[sealedBody.Length - SnapshotFormat.TagSize];
        using var cipher = key.CipherOf(head.Salt);
        try
        {
            cipher.Decrypt(new byte[SnapshotFormat.NonceSize], sealedBody[..body.Length], sealedBody[body.Length..], body, associated);
            return body;
        }
        catch (CryptographicException)
        {
            throw new StoreFault(SnapshotErrors.Damaged, "its encryption says that it was changed");
        }
    }

    private static void Hash(ReadOnlySpan<byte> file, Span<byte> to)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(file[..ManifestHead.HashOffset]);
        hash.AppendData(file[ManifestHead.Size..]);
        hash.GetHashAndReset(to);
    }
}
