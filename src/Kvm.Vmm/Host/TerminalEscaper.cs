namespace Kvm.Vmm.Host;

/// <summary>
/// Shows a guest's text so that it cannot steer a terminal: control characters but line ends, tabs and backspaces become <c>\xNN</c>.
/// C1 controls count as well, alone (ISO 8859-1 terminals) and in UTF-8. Pieces may be cut anywhere. Not thread-safe.
/// </summary>
public sealed class TerminalEscaper
{
    /// <summary>A byte becomes at most four, and two may have been held back.</summary>
    private const int Growth = 4;

    private byte[] _out = new byte[256];
    private int _count;

    // UTF-8 (RFC 3629): continuation bytes still due, and whether the lead byte was 0xc2, which C1 controls begin with.
    private int _due;
    private bool _c1;

    /// <summary>Escapes the next piece.</summary>
    /// <param name="text">The piece.</param>
    /// <returns>What to show, valid until the next call.</returns>
    public ReadOnlySpan<byte> Escape(ReadOnlySpan<byte> text)
    {
        if (_out.Length < (text.Length + 1) * Growth)
            _out = new byte[(text.Length + 1) * Growth];
        _count = 0;
        foreach (var b in text)
            Add(b);
        return _out.AsSpan(0, _count);
    }

    private void Add(byte b)
    {
        if (_c1)
        {
            _c1 = false;
            if (b is >= 0x80 and <= 0x9f)
            {
                AddEscaped(b);
                return;
            }

            _out[_count++] = 0xc2;
            _due = 1;
        }

        if (_due > 0 && b is >= 0x80 and <= 0xbf)
        {
            _due--;
            _out[_count++] = b;
            return;
        }

        _due = b switch
        {
            >= 0xc3 and <= 0xdf => 1,
            >= 0xe0 and <= 0xef => 2,
            >= 0xf0 and <= 0xf4 => 3,
            _ => 0,
        };
        if (b == 0xc2)
            _c1 = true;
        else if (b is (< 0x20 and not ((byte)'\n' or (byte)'\r' or (byte)'\t' or (byte)'\b')) or (>= 0x7f and <= 0x9f))
            AddEscaped(b);
        else
            _out[_count++] = b;
    }

    private void AddEscaped(byte b)
    {
        _out[_count++] = (byte)'\\';
        _out[_count++] = (byte)'x';
        _out[_count++] = Hex(b >> 4);
        _out[_count++] = Hex(b & 15);
    }

    private static byte Hex(int digit) => (byte)(digit < 10 ? '0' + digit : 'a' + digit - 10);
}
