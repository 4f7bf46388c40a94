using System.Globalization;

namespace Kvm.Devices.Net;

/// <summary>An Ethernet address. Immutable; equal by its six bytes.</summary>
/// <param name="Value">The six bytes as a number, the first one in the highest place; below 2⁴⁸.</param>
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>Bytes of an address.</summary>
    public const int Size = 6;

    /// <summary>The address of everybody.</summary>
    public static readonly MacAddress Broadcast = new(0xffff_ffff_ffff);

    /// <summary>True for the addresses of groups, that of everybody included (IEEE 802-2014, 8.2.2: the I/G bit).</summary>
    public bool IsGroup => (Value >> 40 & 1) != 0;

    /// <summary>True if a card may have it: neither a group's nor all zeros.</summary>
    public bool IsUsable => !IsGroup && Value != 0;

    /// <summary>Reads the first six bytes.</summary>
    /// <param name="bytes">At least <see cref="Size"/>.</param>
    public static MacAddress Read(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        foreach (byte b in bytes[..Size])
            value = value << 8 | b;
        return new MacAddress(value);
    }

    /// <summary>Writes the six bytes.</summary>
    /// <param name="bytes">At least <see cref="Size"/>.</param>
    public void Write(Span<byte> bytes)
    {
        for (int i = 0; i < Size; i++)
            bytes[i] = (byte)(Value >> 40 - 8 * i & 0xff);
    }

    /// <summary>Understands <c>52:54:00:12:34:56</c>, with colons or dashes; false if the text is not one address.</summary>
    public static bool TryParse(string text, out MacAddress address)
    {
        ArgumentNullException.ThrowIfNull(text);
        address = default;
        if (text.Length != 3 * Size - 1)
            return false;
        ulong value = 0;
        for (int i = 0; i < Size; i++)
        {
            if ((i > 0 && text[3 * i - 1] is not (':' or '-'))
                || !byte.TryParse(text.AsSpan(3 * i, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte part))
                return false;
            value = value << 8 | part;
        }

        address = new MacAddress(value);
        return true;
    }

    /// <summary>The usual form: lower-case, with colons.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Value >> 40 & 0xff:x2}:{Value >> 32 & 0xff:x2}:{Value >> 24 & 0xff:x2}:{Value >> 16 & 0xff:x2}:{Value >> 8 & 0xff:x2}:{Value & 0xff:x2}");
}
