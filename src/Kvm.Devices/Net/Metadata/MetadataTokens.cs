using System.Buffers.Text;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Net.Metadata;

/// <summary>
/// The tokens of sessions: random, and good for as long as was asked for. So many at most; with one more the one that would end first is forgotten. Not thread-safe;
/// allocates nothing after construction.
/// </summary>
internal sealed class MetadataTokens(IEntropySource entropy, TimeProvider time)
{
    /// <summary>How long a token may be good for, in seconds.</summary>
    public const int LeastSeconds = 1, MostSeconds = 21_600;

    /// <summary>The most tokens.</summary>
    public const int Most = 1024;

    /// <summary>Characters of a token: base64 of <see cref="Bytes"/> random ones.</summary>
    public const int Length = 44;

    private const int Bytes = 32;

    private readonly byte[] _tokens = new byte[Most * Length];
    private readonly long[] _ends = new long[Most];

    /// <summary>Makes a token.</summary>
    /// <param name="seconds">What it is good for.</param>
    /// <param name="token">Room for <see cref="Length"/> bytes.</param>
    public void Make(int seconds, Span<byte> token)
    {
        Span<byte> random = stackalloc byte[Bytes];
        entropy.Fill(random);
        Base64.EncodeToUtf8(random, token, out _, out _);
        int place = _ends.AsSpan().IndexOf(_ends.Min());
        token[..Length].CopyTo(_tokens.AsSpan(place * Length));
        _ends[place] = time.GetTimestamp() + seconds * time.TimestampFrequency;
    }

    /// <summary>True for a token that was made here and is still good.</summary>
    public bool IsGood(ReadOnlySpan<byte> token)
    {
        if (token.Length != Length)
            return false;
        long now = time.GetTimestamp();
        for (int i = 0; i < Most; i++)
        {
            if (_ends[i] > now && IsSame(token, _tokens.AsSpan(i * Length, Length)))
                return true;
        }

        return false;
    }

    // How long it takes tells nothing of how much was right.
    private static bool IsSame(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b)
    {
        int difference = 0;
        for (int i = 0; i < Length; i++)
            difference |= a[i] ^ b[i];
        return difference == 0;
    }
}
