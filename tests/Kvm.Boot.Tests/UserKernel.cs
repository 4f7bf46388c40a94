using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>
/// Kernels that leave for user mode with I/O privilege at once, where every KVM runs code at the processor's own speed: long mode, the first
/// 16 MiB mapped for everybody. Nothing returns from there: interrupts are off.
/// </summary>
internal static class UserKernel
{
    private const uint Tables = 0x20_0000;
    private const uint LongOffset = 0x200;
    private const uint GdtOffset = 0x400;
    private const uint CodeOffset = 0x800;

    /// <summary>Assembles 64-bit user code.</summary>
    public static byte[] Assemble(Action<Assembler> write)
    {
        byte[] user = Code(64, TinyKernel.Entry + CodeOffset, write);
        byte[] image = new byte[CodeOffset + user.Length];
        Code(32, TinyKernel.Entry, EnterLongMode).CopyTo(image, 0);
        Code(64, TinyKernel.Entry + LongOffset, Leave).CopyTo(image, (int)LongOffset);
        ulong[] gdt = [0, 0x00209a0000000000, 0x0000920000000000, 0x0000f20000000000, 0x0020fa0000000000];
        for (int i = 0; i < gdt.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)GdtOffset + i * 8), gdt[i]);
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)GdtOffset + 64), (ushort)(gdt.Length * 8 - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan((int)GdtOffset + 66), TinyKernel.Entry + GdtOffset);
        user.CopyTo(image, (int)CodeOffset);
        return TinyKernel.Wrap(image);
    }

    /// <summary>Computes for ever.</summary>
    public static byte[] Spin() => Assemble(a =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(rcx);
        a.jmp(again);
    });

    /// <summary>Computes so many rounds of one cycle or more each, then powers off by the debug-exit port.</summary>
    public static byte[] Count(long rounds) => Assemble(a =>
    {
        var again = a.CreateLabel();
        a.mov(rcx, rounds);
        a.Label(ref again);
        a.dec(rcx);
        a.jnz(again);
        a.xor(eax, eax);
        a.@out(0xf4, eax);
        // The machine ends before it comes here.
        a.jmp(again);
    });

    private static byte[] Code(int bits, uint address, Action<Assembler> write)
    {
        var assembler = new Assembler(bits);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address);
        return code.ToArray();
    }

    private static void EnterLongMode(Assembler a)
    {
        const int present = 7, large = 0x87;
        a.mov(__dword_ptr[Tables], (int)Tables + 0x1000 + present);
        a.mov(__dword_ptr[Tables + 0x1000], (int)Tables + 0x2000 + present);
        for (uint page = 0; page < 8; page++)
            a.mov(__dword_ptr[Tables + 0x2000 + page * 8], (int)(page << 21) + large);
        a.mov(eax, Tables);
        a.mov(cr3, eax);
        a.mov(eax, 0x20);
        a.mov(cr4, eax);
        a.mov(ecx, 0xc0000080);
        a.rdmsr();
        a.or(eax, 0x100);
        a.wrmsr();
        a.mov(eax, 0x80000011);
        a.mov(cr0, eax);
        a.lgdt(__[TinyKernel.Entry + GdtOffset + 64]);
        uint target = TinyKernel.Entry + LongOffset;
        a.db(0xea, (byte)target, (byte)(target >> 8), (byte)(target >> 16), (byte)(target >> 24), 8, 0);
    }

    private static void Leave(Assembler a)
    {
        a.mov(rsp, 0x30_0000L);
        a.push(0x1b);
        a.push(0x40_0000);
        a.push(0x3002);
        a.push(0x23);
        a.push((int)(TinyKernel.Entry + CodeOffset));
        a.iretq();
    }
}
