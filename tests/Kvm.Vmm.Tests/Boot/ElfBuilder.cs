using System.Buffers.Binary;
using System.Text;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>Makes small ELF executables: header, program headers, then contents in the order they were added.</summary>
internal sealed class ElfBuilder(bool is64)
{
    private sealed record Part(uint Type, ulong VirtualAddress, ulong Address, byte[] Bytes, ulong MemorySize, ulong Align, ulong? FileOffset);

    private readonly List<Part> _parts = [];

    public ulong Entry { get; set; }

    public ushort Type { get; set; } = 2;

    public ushort Machine { get; set; } = is64 ? (ushort)62 : (ushort)3;

    /// <summary>Adds a PT_LOAD segment.</summary>
    public ElfBuilder Load(ulong address, byte[] bytes, ulong? memorySize = null, ulong? virtualAddress = null, ulong? fileOffset = null)
    {
        _parts.Add(new(1, virtualAddress ?? address, address, bytes, memorySize ?? (ulong)bytes.Length, 0x1000, fileOffset));
        return this;
    }

    /// <summary>Adds a PT_NOTE segment with one note.</summary>
    public ElfBuilder Note(string owner, uint type, byte[] description, ulong align = 4)
    {
        byte[] name = Encoding.ASCII.GetBytes(owner + '\0');
        using var note = new MemoryStream();
        using var w = new BinaryWriter(note);
        w.Write(name.Length);
        w.Write(description.Length);
        w.Write(type);
        w.Write(name);
        Pad();
        w.Write(description);
        Pad();
        return RawNotes(note.ToArray(), align);

        void Pad()
        {
            while (note.Length % (long)align != 0)
                w.Write((byte)0);
        }
    }

    public ElfBuilder RawNotes(byte[] bytes, ulong align = 4)
    {
        _parts.Add(new(4, 0, 0, bytes, (ulong)bytes.Length, align, null));
        return this;
    }

    public ElfBuilder Pvh(uint entry) => Note("Xen", 18, BitConverter.GetBytes(entry));

    public ElfBuilder LinuxNote() => Note("Linux", 0x100, [1, 2, 3, 4]);

    /// <summary>Offset in the file of a program header's field, by its offset in the 64-bit layout's field order.</summary>
    public int ProgramHeader(int index) => (is64 ? 64 : 52) + (index * (is64 ? 56 : 32));

    public byte[] Build()
    {
        int headerSize = is64 ? 64 : 52, entrySize = is64 ? 56 : 32;
        var offsets = new ulong[_parts.Count];
        ulong at = (ulong)(headerSize + (entrySize * _parts.Count));
        ulong end = at;
        for (int i = 0; i < _parts.Count; i++)
        {
            offsets[i] = _parts[i].FileOffset ?? (at + 15) & ~15UL;
            at = offsets[i] + (ulong)_parts[i].Bytes.Length;
            end = Math.Max(end, at);
        }

        byte[] file = new byte[end];
        WriteHeader(file, headerSize, entrySize);
        for (int i = 0; i < _parts.Count; i++)
        {
            WriteProgramHeader(file.AsSpan(headerSize + (i * entrySize)), _parts[i], offsets[i]);
            _parts[i].Bytes.CopyTo(file, (int)offsets[i]);
        }

        return file;
    }

    private void WriteHeader(Span<byte> f, int headerSize, int entrySize)
    {
        "\u007fELF"u8.CopyTo(f);
        f[4] = is64 ? (byte)2 : (byte)1;
        f[5] = 1;
        f[6] = 1;
        U16(f, 16, Type);
        U16(f, 18, Machine);
        U32(f, 20, 1);
        if (is64)
        {
            U64(f, 24, Entry);
            U64(f, 32, (ulong)headerSize);
        }
        else
        {
            U32(f, 24, (uint)Entry);
            U32(f, 28, (uint)headerSize);
        }

        int tail = is64 ? 52 : 40;
        U16(f, tail, (ushort)headerSize);
        U16(f, tail + 2, (ushort)entrySize);
        U16(f, tail + 4, (ushort)_parts.Count);
    }

    private void WriteProgramHeader(Span<byte> p, Part part, ulong offset)
    {
        U32(p, 0, part.Type);
        if (is64)
        {
            U64(p, 8, offset);
            U64(p, 16, part.VirtualAddress);
            U64(p, 24, part.Address);
            U64(p, 32, (ulong)part.Bytes.Length);
            U64(p, 40, part.MemorySize);
            U64(p, 48, part.Align);
            return;
        }

        U32(p, 4, (uint)offset);
        U32(p, 8, (uint)part.VirtualAddress);
        U32(p, 12, (uint)part.Address);
        U32(p, 16, (uint)part.Bytes.Length);
        U32(p, 20, (uint)part.MemorySize);
        U32(p, 28, (uint)part.Align);
    }

    private static void U16(Span<byte> at, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(at[offset..], value);

    private static void U32(Span<byte> at, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);

    private static void U64(Span<byte> at, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(at[offset..], value);
}
