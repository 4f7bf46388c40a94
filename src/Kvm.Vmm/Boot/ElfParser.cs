using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>Reads ELF32 and ELF64 executables for x86 (System V gABI, chapters 4 and 5). Trusts nothing in the file.</summary>
internal static class ElfParser
{
    /// <summary>More program headers than any kernel has; also keeps clear of PN_XNUM (0xffff).</summary>
    internal const int MaxProgramHeaders = 256;

    private const int IdentSize = 16;
    private const int Header32 = 52;
    private const int Header64 = 64;
    private const int ProgramHeader32 = 32;
    private const int ProgramHeader64 = 56;
    private const uint TypeLoad = 1;
    private const uint TypeNote = 4;
    private const ushort MachineX86 = 3;
    private const ushort MachineX64 = 62;

    /// <summary>True if the first bytes are an ELF file's.</summary>
    internal static bool Matches(ReadOnlySpan<byte> head) => head is [0x7f, (byte)'E', (byte)'L', (byte)'F', ..];

    /// <summary>Parses the headers and notes of <paramref name="file"/>.</summary>
    /// <exception cref="LoadException">Anything in it is out of bounds or of another machine.</exception>
    internal static ElfImage Parse(ImageSource file)
    {
        Span<byte> header = stackalloc byte[Header64];
        file.Read(0, header[..IdentSize], "ELF identification");
        bool is64 = CheckIdent(file, header);
        int headerSize = is64 ? Header64 : Header32;
        file.Read(0, header[..headerSize], "ELF header");
        CheckMachine(file, header, is64);

        ulong entry = is64 ? U64(header, 24) : U32(header, 24);
        var segments = new List<ElfSegment>();
        var notes = new ElfNotes();
        ReadProgramHeaders(file, header, is64, segments, notes);
        if (segments.Count == 0)
            throw LoadException.At(LoadErrors.BadHeader, file, "e_phnum", is64 ? 56UL : 44, "no program header is a loadable segment (PT_LOAD)");
        CheckOverlaps(file, segments);
        return new ElfImage { Is64 = is64, Entry = entry, Segments = [.. segments], Notes = notes };
    }

    private static bool CheckIdent(ImageSource file, ReadOnlySpan<byte> ident)
    {
        if (!Matches(ident))
            throw LoadException.At(LoadErrors.UnknownFormat, file, "e_ident", 0, "the ELF magic is not there");
        if (ident[4] is not (1 or 2))
            throw LoadException.At(LoadErrors.BadHeader, file, "EI_CLASS", 4, $"{ident[4]} is neither 1 (32-bit) nor 2 (64-bit)");
        if (ident[5] != 1)
            throw LoadException.At(LoadErrors.WrongMachine, file, "EI_DATA", 5, $"{ident[5]} is not 1 (little-endian)");
        if (ident[6] != 1)
            throw LoadException.At(LoadErrors.BadHeader, file, "EI_VERSION", 6, $"{ident[6]} is not 1");
        return ident[4] == 2;
    }

    private static void CheckMachine(ImageSource file, ReadOnlySpan<byte> header, bool is64)
    {
        ushort type = U16(header, 16), machine = U16(header, 18);
        if (type is not (2 or 3))
            throw LoadException.At(LoadErrors.WrongMachine, file, "e_type", 16, $"{type} is neither 2 (executable) nor 3 (position-independent)");
        if (machine != (is64 ? MachineX64 : MachineX86))
            throw LoadException.At(LoadErrors.WrongMachine, file, "e_machine", 18, $"{machine} is not {(is64 ? "62 (x86-64)" : "3 (80386)")}");
    }

    private static void ReadProgramHeaders(
        ImageSource file, ReadOnlySpan<byte> header, bool is64, List<ElfSegment> segments, ElfNotes notes)
    {
        ulong tableOffset = is64 ? U64(header, 32) : U32(header, 28);
        int at = is64 ? 54 : 42;
        ushort entrySize = U16(header, at), count = U16(header, at + 2);
        int size = is64 ? ProgramHeader64 : ProgramHeader32;
        if (entrySize != size)
            throw LoadException.At(LoadErrors.BadHeader, file, "e_phentsize", (ulong)at, $"{entrySize} is not {size}");
        if (count > MaxProgramHeaders)
            throw LoadException.At(LoadErrors.BadHeader, file, "e_phnum", (ulong)at + 2, $"{count} program headers are more than the {MaxProgramHeaders} a kernel may have");

        Span<byte> table = stackalloc byte[ProgramHeader64];
        int noteBudget = ElfNoteParser.MaxNoteBytes;
        for (int i = 0; i < count; i++)
        {
            // Cannot wrap for an offset inside the file; one outside is refused by Read.
            ulong offset = tableOffset + (ulong)(i * size);
            if (offset < tableOffset)
                throw LoadException.At(LoadErrors.Truncated, file, "e_phoff", is64 ? 32UL : 28, "the program headers lie past the end of the file");
            file.Read(offset, table[..size], $"program header {i}");
            var p = Decode(i, table, is64, out uint type);
            if (type == TypeLoad && p.MemorySize != 0 | p.FileSize != 0)
                segments.Add(CheckLoad(file, p, offset, is64));
            else if (type == TypeNote)
                noteBudget -= ElfNoteParser.Parse(file, p, offset, IsEightByteAligned(table, is64), noteBudget, notes);
        }
    }

    private static ElfSegment Decode(int index, ReadOnlySpan<byte> p, bool is64, out uint type)
    {
        type = U32(p, 0);
        return is64
            ? new(index, U64(p, 8), U64(p, 32), U64(p, 24), U64(p, 40), U64(p, 16))
            : new(index, U32(p, 4), U32(p, 16), U32(p, 12), U32(p, 20), U32(p, 8));
    }

    private static bool IsEightByteAligned(ReadOnlySpan<byte> p, bool is64) => (is64 ? U64(p, 48) : U32(p, 28)) == 8;

    private static ElfSegment CheckLoad(ImageSource file, ElfSegment s, ulong headerOffset, bool is64)
    {
        if (s.FileSize > s.MemorySize)
        {
            throw LoadException.At(LoadErrors.BadHeader, file, $"p_filesz of segment {s.Index}", headerOffset + (is64 ? 32UL : 16),
                $"0x{s.FileSize:x} is more than p_memsz 0x{s.MemorySize:x}");
        }

        if (s.FileOffset > file.Length || s.FileSize > file.Length - s.FileOffset)
        {
            throw LoadException.At(LoadErrors.Truncated, file, $"p_offset of segment {s.Index}", headerOffset + (is64 ? 8UL : 4),
                $"0x{s.FileOffset:x}+0x{s.FileSize:x} reaches past the file's 0x{file.Length:x} bytes");
        }

        if (s.MemorySize > ulong.MaxValue - s.Address)
        {
            throw LoadException.At(LoadErrors.BadHeader, file, $"p_memsz of segment {s.Index}", headerOffset + (is64 ? 40UL : 20),
                $"0x{s.Address:x}+0x{s.MemorySize:x} is past the end of the address space");
        }

        return s;
    }

    private static void CheckOverlaps(ImageSource file, List<ElfSegment> segments)
    {
        var sorted = segments.OrderBy(s => s.Address).ToArray();
        for (int i = 1; i < sorted.Length; i++)
        {
            var (a, b) = (sorted[i - 1], sorted[i]);
            if (a.Range.Overlaps(b.Range))
                throw LoadException.Whole(LoadErrors.Overlap, file, $"segments {a.Index} and {b.Index}", $"{a.Range} and {b.Range} overlap");
        }
    }

    private static ushort U16(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(at[offset..]);

    private static uint U32(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(at[offset..]);

    private static ulong U64(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(at[offset..]);
}
