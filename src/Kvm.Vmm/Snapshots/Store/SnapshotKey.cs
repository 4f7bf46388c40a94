using System.ComponentModel;
using System.Diagnostics;
using System.Security.Cryptography;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// The secret of encrypted snapshots. From it come (HKDF-SHA256, RFC 5869) a key of its own for each file, by 32 random bytes in the file's head; the key of
/// the ids, so that they tell nothing about contents; and 16 bytes by which a wrong key is told from damage. Immutable; safe from any thread.
/// </summary>
public sealed class SnapshotKey
{
    /// <summary>Fewest and most bytes of a secret.</summary>
    public const int LeastBytes = 32, MostBytes = 4096;

    internal const int CheckSize = 16, SaltSize = 32;

    private readonly byte[] _master;

    private SnapshotKey(byte[] master)
    {
        _master = master;
        IdKey = Derive("kvmsharp chunk ids"u8, 32);
        Check = Derive("kvmsharp key check"u8, CheckSize);
    }

    internal byte[] IdKey { get; }

    internal byte[] Check { get; }

    /// <summary>A key from a secret: as it is, line ends included.</summary>
    /// <param name="secret"><see cref="LeastBytes"/> to <see cref="MostBytes"/> bytes that nobody can guess; a password is not enough.</param>
    /// <exception cref="VmmException">Too few or too many (<see cref="SnapshotErrors.NoKey"/>).</exception>
    public static SnapshotKey From(ReadOnlySpan<byte> secret)
    {
        if (secret.Length is < LeastBytes or > MostBytes)
            throw new VmmException(SnapshotErrors.NoKey, $"the key has {secret.Length} bytes");
        byte[] master = new byte[32];
        HKDF.Extract(HashAlgorithmName.SHA256, secret, "kvmsharp snapshots 1"u8, master);
        return new SnapshotKey(master);
    }

    /// <summary>Gets the key from where it is: <c>file=PATH</c>, <c>credential=NAME</c> (a file in systemd's $CREDENTIALS_DIRECTORY) or <c>command=TEXT</c> (what a shell's command prints).</summary>
    /// <param name="source">Where.</param>
    /// <exception cref="VmmException">There is none (<see cref="SnapshotErrors.NoKey"/>).</exception>
    public static SnapshotKey Load(string source)
    {
        ArgumentNullException.ThrowIfNull(source);
        int equals = source.IndexOf('=', StringComparison.Ordinal);
        string value = source[(equals + 1)..];
        byte[] secret = source[..Math.Max(equals, 0)] switch
        {
            "file" => OfFile(value),
            "credential" => OfFile(CredentialPath(value)),
            "command" => OfCommand(value),
            _ => throw new VmmException(SnapshotErrors.NoKey, $"{VisibleText.Quote(source, 40)} is not file=PATH, credential=NAME or command=TEXT"),
        };
        try
        {
            return From(secret);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(secret);
        }
    }

    /// <summary>What another process of this user's makes the same key from: as secret as the key.</summary>
    internal ReadOnlySpan<byte> Master => _master;

    /// <summary>The key that <see cref="Master"/> is of; null where that is none.</summary>
    internal static SnapshotKey? FromMaster(ReadOnlySpan<byte> master) => master.Length == 32 ? new SnapshotKey(master.ToArray()) : null;

    /// <summary>The key of one file.</summary>
    internal AesGcm CipherOf(ReadOnlySpan<byte> salt)
    {
        Span<byte> key = stackalloc byte[32];
        Span<byte> info = stackalloc byte[SaltSize + 16];
        "kvmsharp a file:"u8.CopyTo(info);
        salt.CopyTo(info[16..]);
        HKDF.Expand(HashAlgorithmName.SHA256, _master, key, info);
        var cipher = new AesGcm(key, SnapshotFormat.TagSize);
        CryptographicOperations.ZeroMemory(key);
        return cipher;
    }

    private static string CredentialPath(string name)
    {
        string folder = Environment.GetEnvironmentVariable("CREDENTIALS_DIRECTORY")
            ?? throw new VmmException(SnapshotErrors.NoKey, "there is no $CREDENTIALS_DIRECTORY: this is no systemd unit with LoadCredential=");
        return name.Length > 0 && name is not ("." or "..") && !name.Contains('/', StringComparison.Ordinal)
            ? Path.Combine(folder, name)
            : throw new VmmException(SnapshotErrors.NoKey, $"{VisibleText.Quote(name, 40)} is no credential's name");
    }

    private static byte[] OfFile(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            return ReadAll(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(SnapshotErrors.NoKey, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static byte[] OfCommand(string command)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", command]) { RedirectStandardOutput = true })!;
            byte[] secret = ReadAll(process.StandardOutput.BaseStream);
            process.StandardOutput.Close();
            process.WaitForExit();
            return process.ExitCode == 0 ? secret : throw new VmmException(SnapshotErrors.NoKey, $"the key's command ended with {process.ExitCode}");
        }
        catch (Exception e) when (e is IOException or Win32Exception)
        {
            throw new VmmException(SnapshotErrors.NoKey, $"the key's command: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>All there is, but no more than one byte above what a key may have.</summary>
    private static byte[] ReadAll(Stream stream)
    {
        byte[] buffer = new byte[MostBytes + 1];
        int count = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        byte[] secret = buffer[..count];
        CryptographicOperations.ZeroMemory(buffer);
        return secret;
    }

    private byte[] Derive(ReadOnlySpan<byte> info, int size)
    {
        byte[] key = new byte[size];
        HKDF.Expand(HashAlgorithmName.SHA256, _master, key, info);
        return key;
    }
}
