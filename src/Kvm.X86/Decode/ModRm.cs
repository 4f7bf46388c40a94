namespace Kvm.X86.Decode;

/// <summary>Register fields of an instruction's encoding, with REX or VEX extension bits.</summary>
internal readonly record struct ModRm(byte Reg, byte Rm, byte V)
{
    /// <summary>Finds them in the bytes of one valid instruction. Fields that are not there read zero.</summary>
    public static ModRm Parse(ReadOnlySpan<byte> bytes, bool longMode)
    {
        int n = 0, rex = 0;
        for (; n < bytes.Length; n++)
        {
            // A REX prefix counts only right before the opcode (SDM vol. 2, 2.2.1).
            if (bytes[n] is 0x66 or 0x67 or 0xf2 or 0xf3 or 0xf0 or 0x2e or 0x36 or 0x3e or 0x26 or 0x64 or 0x65)
                rex = 0;
            else if (longMode && (bytes[n] & 0xf0) == 0x40)
                rex = bytes[n];
            else
                break;
        }

        if (n >= bytes.Length)
            return default;
        byte lead = bytes[n];
        bool vexSpace = n + 1 < bytes.Length && (longMode || (bytes[n + 1] & 0xc0) == 0xc0);
        if (lead == 0xc5 && vexSpace)
            return At(bytes, n + 3, (bytes[n + 1] & 0x80) == 0 && longMode ? 4 : 0, (byte)((~bytes[n + 1] >> 3) & Mask(longMode)));
        if (lead == 0xc4 && vexSpace && n + 2 < bytes.Length)
            return At(bytes, n + 4, longMode ? (~bytes[n + 1] >> 5) & 5 : 0, (byte)((~bytes[n + 2] >> 3) & Mask(longMode)));
        n++;
        if (lead == 0x0f && n < bytes.Length)
            n += bytes[n] is 0x38 or 0x3a ? 2 : 1;
        return At(bytes, n, rex, 0);
    }

    private static int Mask(bool longMode) => longMode ? 15 : 7;

    /// <summary>Extension bits as in REX: 4 for reg, 1 for rm.</summary>
    private static ModRm At(ReadOnlySpan<byte> bytes, int n, int extension, byte v)
    {
        if (n >= bytes.Length)
            return new ModRm(0, 0, v);
        int b = bytes[n];
        return new ModRm((byte)(((b >> 3) & 7) | ((extension & 4) << 1)), (byte)((b & 7) | ((extension & 1) << 3)), v);
    }
}
