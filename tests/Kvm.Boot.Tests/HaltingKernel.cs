using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>A kernel that halts, and is woken for a moment by its local APIC's timer every so often, for ever.</summary>
internal static class HaltingKernel
{
    private const uint HandlerOffset = 0x200;
    private const uint GdtOffset = 0x300;
    private const uint IdtOffset = 0x400;
    private const int Vector = 0x40;

    /// <summary>Assembles it.</summary>
    /// <param name="period">Ticks of the APIC's bus clock, which under KVM are ns.</param>
    public static byte[] Assemble(int period)
    {
        byte[] image = new byte[IdtOffset + (Vector + 1) * 8];
        Code(a => Boot(a, period), TinyKernel.Entry).CopyTo(image, 0);
        Code(Handler, TinyKernel.Entry + HandlerOffset).CopyTo(image, (int)HandlerOffset);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)GdtOffset + 8), 0x00cf9a000000ffff); // 08: code
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)GdtOffset + 16), 0x00cf92000000ffff); // 10: data
        Pointer(image, GdtOffset + 32, GdtOffset, 24);
        Pointer(image, GdtOffset + 40, IdtOffset, (Vector + 1) * 8);
        uint handler = TinyKernel.Entry + HandlerOffset;
        var gate = image.AsSpan((int)IdtOffset + Vector * 8);
        BinaryPrimitives.WriteUInt16LittleEndian(gate, (ushort)handler);
        BinaryPrimitives.WriteUInt16LittleEndian(gate[2..], 8);
        BinaryPrimitives.WriteUInt16LittleEndian(gate[4..], 0x8e00); // present, 32-bit interrupt gate
        BinaryPrimitives.WriteUInt16LittleEndian(gate[6..], (ushort)(handler >> 16));
        return TinyKernel.Wrap(image);
    }

    private static byte[] Code(Action<Assembler> write, uint address)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address);
        return code.ToArray();
    }

    private static void Pointer(byte[] image, uint at, uint table, int bytes)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)at), (ushort)(bytes - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan((int)at + 2), TinyKernel.Entry + table);
    }

    private static void Boot(Assembler a, int period)
    {
        a.mov(esp, 0x30_0000);
        a.lgdt(__[TinyKernel.Entry + GdtOffset + 32]);
        uint target = TinyKernel.Entry + 0x20;
        a.db(0xea, (byte)target, (byte)(target >> 8), (byte)(target >> 16), (byte)(target >> 24), 8, 0);
        while (Length(a) < 0x20)
            a.nop();
        a.mov(eax, 0x10);
        a.mov(ds, ax);
        a.mov(es, ax);
        a.mov(ss, ax);
        a.lidt(__[TinyKernel.Entry + GdtOffset + 40]);
        a.mov(__dword_ptr[0xfee000f0], 0x1ff); // spurious vector, APIC on
        a.mov(__dword_ptr[0xfee003e0], 0xb); // divide by 1
        a.mov(__dword_ptr[0xfee00320], 0x20000 | Vector); // periodic
        a.mov(__dword_ptr[0xfee00380], period);
        var again = a.CreateLabel();
        a.Label(ref again);
        a.sti();
        a.hlt();
        a.jmp(again);
    }

    private static int Length(Assembler a)
    {
        using var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), TinyKernel.Entry);
        return (int)code.Length;
    }

    private static void Handler(Assembler a)
    {
        a.mov(__dword_ptr[0xfee000b0], 0);
        a.iretd();
    }
}
