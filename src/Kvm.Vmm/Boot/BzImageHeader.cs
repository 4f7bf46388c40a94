using System.Buffers.Binary;
using System.Text;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The setup header of a bzImage (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"), checked as far as a
/// loader relies on it. Offsets in this file are the ones of that table.
/// </summary>
internal sealed class BzImageHeader
{
    /// <summary>Where the setup header starts, in the file and in the zero page.</summary>
    internal const int SetupHeader = 0x1f1;

    /// <summary>Where it ends at the latest in the zero page (edd_mbr_sig_buffer follows).</summary>
    internal const int SetupHeaderEnd = 0x290;

    private const int Sector = 512;
    private const int SetupSectsMax = 64; // "the real-mode code can total up to 32K"
    private const byte LoadedHigh = 1 << 0;
    private const ushort Kernel64 = 1 << 0;

    /// <summary>Boot protocol version, 0x20f is 2.15.</summary>
    public required ushort Version { get; init; }

    /// <summary>The bytes of the setup header, to be copied into the zero page at <see cref="SetupHeader"/>.</summary>
    public required byte[] Raw { get; init; }

    /// <summary>Offset of the protected-mode code in the file.</summary>
    public required ulong ProtectedMode { get; init; }

    /// <summary>Offset of the payload in the file; 0 if the header does not tell (before 2.08).</summary>
    public ulong Payload { get; init; }

    /// <summary>Length of the payload in bytes.</summary>
    public uint PayloadLength { get; init; }

    /// <summary>Where the protected-mode code wants to be entered, and is loaded.</summary>
    public required uint Code32Start { get; init; }

    /// <summary>Highest address of an initrd's last byte.</summary>
    public required uint InitrdMax { get; init; }

    /// <summary>Longest command line in bytes without the NUL.</summary>
    public required uint CommandLineMax { get; init; }

    /// <summary>Where the kernel proper wants to be (2.10), else 0.</summary>
    public ulong PreferredAddress { get; init; }

    /// <summary>Bytes from there that must be RAM (2.10), else 0.</summary>
    public uint InitSize { get; init; }

    /// <summary>Alignment a relocatable kernel gives itself.</summary>
    public uint Alignment { get; init; }

    /// <summary>True if the kernel has a 64-bit entry (2.12); false also for older headers, which do not tell.</summary>
    public bool Is64 { get; init; }

    /// <summary>The version text, printable ASCII, or null.</summary>
    public string? KernelVersion { get; init; }

    /// <summary>True if the file has "HdrS" where a bzImage has it.</summary>
    internal static bool Matches(ReadOnlySpan<byte> head) =>
        head.Length >= 0x206 && head[0x202..].StartsWith("HdrS"u8);

    /// <summary>Parses the header.</summary>
    /// <exception cref="LoadException">It is out of bounds or too old.</exception>
    internal static BzImageHeader Parse(ImageSource file)
    {
        Span<byte> h = stackalloc byte[SetupHeaderEnd];
        h.Clear();
        file.Read(0, h[..0x218], "setup header");
        CheckBasics(file, h, out ushort version, out int headerEnd);
        // The header's length is in its jump instruction; what the version has and the length has not is refused.
        file.Read(0, h[..headerEnd], "setup header");
        h[headerEnd..].Clear();

        int sects = h[SetupHeader] == 0 ? 4 : h[SetupHeader];
        if (sects > SetupSectsMax)
            throw LoadException.At(LoadErrors.BadHeader, file, "setup_sects", SetupHeader, $"{sects} sectors are more than the {SetupSectsMax} of 32 KiB");
        ulong protectedMode = (ulong)((sects + 1) * Sector);
        if (protectedMode >= file.Length)
            throw LoadException.At(LoadErrors.Truncated, file, "setup_sects", SetupHeader, $"the protected-mode code would start at 0x{protectedMode:x}, the file has 0x{file.Length:x} bytes");
        (ulong payload, uint payloadLength) = FindPayload(file, h, version, protectedMode);

        return new BzImageHeader
        {
            Version = version,
            Raw = h[SetupHeader..headerEnd].ToArray(),
            ProtectedMode = protectedMode,
            Payload = payload,
            PayloadLength = payloadLength,
            Code32Start = U32(h, 0x214),
            InitrdMax = version >= 0x203 && U32(h, 0x22c) != 0 ? U32(h, 0x22c) : 0x37ff_ffff,
            CommandLineMax = version >= 0x206 && U32(h, 0x238) != 0 ? U32(h, 0x238) : 255,
            PreferredAddress = version >= 0x20a ? BinaryPrimitives.ReadUInt64LittleEndian(h[0x258..]) : 0,
            InitSize = version >= 0x20a ? U32(h, 0x260) : 0,
            Alignment = version >= 0x205 ? U32(h, 0x230) : 0,
            Is64 = version >= 0x20c && (U16(h, 0x236) & Kernel64) != 0,
            KernelVersion = ReadVersion(file, U16(h, 0x20e), protectedMode),
        };
    }

    private static void CheckBasics(ImageSource file, ReadOnlySpan<byte> h, out ushort version, out int headerEnd)
    {
        if (!Matches(h))
            throw LoadException.At(LoadErrors.UnknownFormat, file, "header", 0x202, "the magic HdrS is not there");
        if (U16(h, 0x1fe) != 0xaa55)
            throw LoadException.At(LoadErrors.BadHeader, file, "boot_flag", 0x1fe, $"0x{U16(h, 0x1fe):x4} is not 0xaa55");
        version = U16(h, 0x206);
        if (version < 0x200)
            throw LoadException.At(LoadErrors.ProtocolTooOld, file, "version", 0x206, $"{version >> 8}.{version & 0xff:d2} is below 2.00");
        if ((h[0x211] & LoadedHigh) == 0)
            throw LoadException.At(LoadErrors.ProtocolTooOld, file, "loadflags", 0x211, "LOADED_HIGH is clear: this is a zImage");
        headerEnd = 0x202 + h[0x201];
        int needed = version switch { >= 0x20a => 0x264, >= 0x208 => 0x250, >= 0x206 => 0x23c, >= 0x205 => 0x235, >= 0x203 => 0x230, _ => 0x218 };
        if (headerEnd < needed || headerEnd > SetupHeaderEnd)
        {
            throw LoadException.At(LoadErrors.BadHeader, file, "jump", 0x201,
                $"a header that ends at 0x{headerEnd:x} does not fit protocol {version >> 8}.{version & 0xff:d2}, which needs 0x{needed:x} and has room to 0x{SetupHeaderEnd:x}");
        }
    }

    private static (ulong Offset, uint Length) FindPayload(ImageSource file, ReadOnlySpan<byte> h, ushort version, ulong protectedMode)
    {
        uint offset = version >= 0x208 ? U32(h, 0x248) : 0, length = version >= 0x208 ? U32(h, 0x24c) : 0;
        if (offset == 0)
            return (0, 0);
        ulong room = file.Length - protectedMode;
        if (offset >= room)
            throw LoadException.At(LoadErrors.Truncated, file, "payload_offset", 0x248, $"0x{offset:x} lies past the end of the protected-mode code, 0x{room:x} bytes");
        if (length > room - offset)
            throw LoadException.At(LoadErrors.Truncated, file, "payload_length", 0x24c, $"0x{length:x} bytes at 0x{protectedMode + offset:x} reach past the file's 0x{file.Length:x} bytes");
        return (protectedMode + offset, length);
    }

    /// <summary>The text that kernel_version points to, less 0x200; a wrong pointer only loses the text.</summary>
    private static string? ReadVersion(ImageSource file, ushort pointer, ulong protectedMode)
    {
        const int longest = 128;
        ulong at = pointer + 0x200UL;
        if (pointer == 0 || at >= protectedMode)
            return null;
        Span<byte> text = stackalloc byte[longest];
        text = text[..(int)Math.Min(longest, protectedMode - at)];
        file.Read(at, text, "kernel version");
        int end = text.IndexOf((byte)0);
        text = text[..(end < 0 ? text.Length : end)];
        return text.IsEmpty || text.IndexOfAnyExceptInRange((byte)' ', (byte)'~') >= 0 ? null : Encoding.ASCII.GetString(text);
    }

    private static ushort U16(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(at[offset..]);

    private static uint U32(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(at[offset..]);
}
