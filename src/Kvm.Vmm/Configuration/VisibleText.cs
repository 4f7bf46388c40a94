using System.Globalization;
using System.Text;

namespace Kvm.Vmm.Configuration;

/// <summary>
/// Makes text that came from a guest, a file or the command line safe and short enough to stand in a message:
/// control characters, which a terminal would obey, become escapes. Thread-safe: pure functions.
/// </summary>
public static class VisibleText
{
    /// <summary>Replaces control and formatting characters by escapes such as <c>\x1b</c>; line ends as well.</summary>
    /// <param name="text">Any text.</param>
    public static string Escape(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var first = IndexOfHidden(text);
        if (first < 0)
            return text;
        var result = new StringBuilder(text, 0, first, text.Length + 16);
        foreach (var c in text.AsSpan(first))
        {
            if (!IsHidden(c))
                result.Append(c);
            else if (c < 0x100)
                result.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}");
            else
                result.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
        }

        return result.ToString();
    }

    /// <summary>As <see cref="Escape"/>, in quotation marks and cut after <paramref name="longest"/> characters.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="longest">Characters of the text shown, at least 1.</param>
    public static string Quote(string text, int longest = 80)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Length <= longest ? $"'{Escape(text)}'" : $"'{Escape(text[..longest])}…' ({text.Length} characters)";
    }

    private static int IndexOfHidden(string text)
    {
        for (var i = 0; i < text.Length; i++)
        {
            if (IsHidden(text[i]))
                return i;
        }

        return -1;
    }

    // Besides C0 and C1 controls: line and paragraph separators, and the formatting characters (bidirectional
    // overrides) that make a text read differently from what it is.
    private static bool IsHidden(char c) => c < ' ' || (c >= 0x7f && (c <= 0x9f || char.GetUnicodeCategory(c) is
        UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator));
}
