using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>Kernels of a few instructions: an ELF file with a PVH note, entered in 32-bit protected mode without paging.</summary>
internal static class TinyKernel
{
    /// <summary>Where the code is loaded and entered.</summary>
    public const uint Entry = 0x10_0000;

    /// <summary>Assembles 32-bit code at <see cref="Entry"/> and wraps it.</summary>
    public static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), Entry);
        return Wrap(code.ToArray());
    }

    /// <summary>Ends the run: writes <paramref name="value"/> to the debug-exit port, then halts.</summary>
    public static void DebugExit(this Assembler a, uint value)
    {
        a.mov(eax, value);
        a.@out(0xf4, eax);
        a.cli();
        a.hlt();
    }

    /// <summary>An ELF64 file with one PT_LOAD of <paramref name="code"/> and one PT_NOTE naming the PVH entry.</summary>
    public static byte[] Wrap(ReadOnlySpan<byte> code)
    {
        const int header = 64, programHeader = 56, note = 20, codeOffset = 0x100;
        byte[] file = new byte[codeOffset + code.Length];
        var f = file.AsSpan();
        ReadOnlySpan<byte> identification = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        identification.CopyTo(f);
        U16(f, 16, 2); // ET_EXEC
        U16(f, 18, 62); // EM_X86_64
        U32(f, 20, 1);
        U64(f, 24, Entry);
        U64(f, 32, header); // e_phoff
        U16(f, 52, header);
        U16(f, 54, programHeader);
        U16(f, 56, 2);

        ProgramHeader(f[header..], type: 1, offset: codeOffset, address: Entry, size: (ulong)code.Length);
        int noteOffset = header + (2 * programHeader);
        ProgramHeader(f[(header + programHeader)..], type: 4, offset: (ulong)noteOffset, address: 0, size: note);

        U32(f, noteOffset, 4); // name size
        U32(f, noteOffset + 4, 4); // descriptor size
        U32(f, noteOffset + 8, 18); // XEN_ELFNOTE_PHYS32_ENTRY
        "Xen\0"u8.CopyTo(f[(noteOffset + 12)..]);
        U32(f, noteOffset + 16, Entry);
        code.CopyTo(f[codeOffset..]);
        return file;
    }

    private static void ProgramHeader(Span<byte> at, uint type, ulong offset, ulong address, ulong size)
    {
        U32(at, 0, type);
        U32(at, 4, 7); // RWX
        U64(at, 8, offset);
        U64(at, 16, address);
        U64(at, 24, address);
        U64(at, 32, size);
        U64(at, 40, size);
        U64(at, 48, 4);
    }

    private static void U16(Span<byte> at, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(at[offset..], value);

    private static void U32(Span<byte> at, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);

    private static void U64(Span<byte> at, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(at[offset..], value);
}
