namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>Hexadecimal numbers and bytes as gdb's protocol writes them.</summary>
internal static class Hex
{
    /// <summary>The value of a digit, or −1.</summary>
    public static int Digit(byte character) => character switch
    {
        >= (byte)'0' and <= (byte)'9' => character - '0',
        >= (byte)'a' and <= (byte)'f' => character - 'a' + 10,
        >= (byte)'A' and <= (byte)'F' => character - 'A' + 10,
        _ => -1,
    };

    /// <summary>Takes a number of 1 to 16 digits from the front; false, with nothing taken, where there is none.</summary>
    public static bool TryNumber(ref ReadOnlySpan<byte> text, out ulong value)
    {
        value = 0;
        int length = 0;
        while (length < text.Length && length < 17 && Digit(text[length]) is >= 0 and var digit)
        {
            value = (value << 4) | (uint)digit;
            length++;
        }

        if (length is 0 or > 16)
            return false;
        text = text[length..];
        return true;
    }

    /// <summary>Takes one given character from the front.</summary>
    public static bool TrySkip(ref ReadOnlySpan<byte> text, char character)
    {
        if (text.IsEmpty || text[0] != character)
            return false;
        text = text[1..];
        return true;
    }

    /// <summary>Two digits a byte; false where they are not that, or too few or many.</summary>
    public static bool TryBytes(ReadOnlySpan<byte> text, Span<byte> bytes)
    {
        if (text.Length != 2 * bytes.Length)
            return false;
        for (int i = 0; i < bytes.Length; i++)
        {
            int high = Digit(text[2 * i]), low = Digit(text[(2 * i) + 1]);
            if ((high | low) < 0)
                return false;
            bytes[i] = (byte)((high << 4) | low);
        }

        return true;
    }
}
