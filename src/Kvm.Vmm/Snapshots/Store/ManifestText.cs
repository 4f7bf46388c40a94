using System.Text;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Texts of a manifest, UTF-8 behind their length; and what names are allowed.</summary>
internal static class ManifestText
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static void Write(StateWriter writer, string text) => writer.Bytes(s_strict.GetBytes(text));

    /// <exception cref="StoreFault">It is too long, or no text.</exception>
    public static string Read(ref StateReader reader, int most, string what)
    {
        var bytes = reader.Bytes(most);
        if (reader.Failed)
            throw new StoreFault(SnapshotErrors.Damaged, $"{what} is cut short or too long");
        try
        {
            return s_strict.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            throw new StoreFault(SnapshotErrors.Damaged, $"{what} is no text");
        }
    }

    /// <summary>True for what may be a snapshot's name: it becomes a file's.</summary>
    public static bool IsName(string text)
    {
        foreach (char c in text)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('.' or '-' or '_'))
                return false;
        }

        return text.Length is > 0 and <= SnapshotFormat.MostNameLength && char.IsAsciiLetterOrDigit(text[0]);
    }

    /// <exception cref="VmmException">It may not (<see cref="SnapshotErrors.BadName"/>).</exception>
    public static void ThrowIfNoName(string text)
    {
        if (!IsName(text))
            throw new VmmException(SnapshotErrors.BadName, VisibleText.Quote(text, 80));
    }
}
