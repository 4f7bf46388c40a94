using System.Text;

namespace Kvm.Vmm.Console;

/// <summary>
/// Finds a text in a stream of bytes that arrives in pieces (Knuth–Morris–Pratt): each byte is looked at once, nothing is
/// kept of the stream, nothing is allocated after construction. Not thread-safe.
/// </summary>
internal sealed class TextMatcher
{
    private readonly byte[] _text;
    private readonly int[] _fallback;
    private int _matched;

    /// <summary>Looks for the UTF-8 bytes of <paramref name="text"/>, which must not be empty.</summary>
    public TextMatcher(string text)
    {
        _text = Encoding.UTF8.GetBytes(text);
        ArgumentOutOfRangeException.ThrowIfZero(_text.Length);
        _fallback = new int[_text.Length];
        for (int i = 1, length = 0; i < _text.Length; i++)
        {
            while (length > 0 && _text[i] != _text[length])
                length = _fallback[length - 1];
            if (_text[i] == _text[length])
                length++;
            _fallback[i] = length;
        }
    }

    /// <summary>True from the piece on in which the text was completed.</summary>
    public bool Found { get; private set; }

    /// <summary>Looks at the next piece of the stream; true only in the call that completes the text.</summary>
    public bool Feed(ReadOnlySpan<byte> piece)
    {
        if (Found)
            return false;
        foreach (byte b in piece)
        {
            while (_matched > 0 && b != _text[_matched])
                _matched = _fallback[_matched - 1];
            if (b == _text[_matched] && ++_matched == _text.Length)
                return Found = true;
        }

        return false;
    }
}
