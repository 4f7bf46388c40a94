using System.Globalization;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network;

/// <summary>A file that the frames of all cards are written to. Immutable.</summary>
/// <param name="Path">The file; what was in it is lost.</param>
/// <param name="MaxBytes">Bytes it may have.</param>
public sealed record CaptureConfig(string Path, long MaxBytes)
{
    /// <summary>What <see cref="MaxBytes"/> is where nothing is said: 1 GiB.</summary>
    public const long DefaultBytes = 1L << 30;

    /// <summary>Understands <c>FILE[,size=SIZE]</c>; a comma of the file's name is written twice.</summary>
    /// <param name="text">The text.</param>
    /// <param name="capture">The file, where the text names one.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out CaptureConfig capture)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Replace(",,", "\0", StringComparison.Ordinal).Split(',');
        capture = new CaptureConfig(parts[0].Replace('\0', ','), DefaultBytes);
        if (capture.Path.Length == 0)
            return "names no file";
        foreach (string part in parts[1..])
        {
            if (part.Split('=', 2) is not ["size", var size] || !SizeText.TryParse(size, out ulong bytes) || bytes is < 1024 or > long.MaxValue)
                return $"has the part {VisibleText.Quote(part, 40)}, not size=SIZE of at least 1K";
            capture = capture with { MaxBytes = (long)bytes };
        }

        return null;
    }

    /// <summary>A text that <see cref="Parse"/> understands as this.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Path.Replace(",", ",,", StringComparison.Ordinal)},size={MaxBytes}");
}
