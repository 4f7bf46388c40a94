namespace Kvm.Interop.Tests;

/// <summary>Pieces of 16-bit guest code, by their bytes.</summary>
internal static class GuestCode
{
    /// <summary>out 0xe9, al with AL = <paramref name="value"/>.</summary>
    public static byte[] Out(byte value) => [0xb0, value, 0xe6, 0xe9];

    /// <summary>out <paramref name="port"/>, al with AL = <paramref name="value"/>.</summary>
    public static byte[] Out(byte port, byte value) => [0xb0, value, 0xe6, port];

    /// <summary>mov byte [<paramref name="address"/>], <paramref name="value"/>.</summary>
    public static byte[] Store(ushort address, byte value) => [0xc6, 0x06, (byte)address, (byte)(address >> 8), value];

    /// <summary>mov ax, <paramref name="segment"/>; mov ds, ax.</summary>
    public static byte[] DataSegment(ushort segment) => [0xb8, (byte)segment, (byte)(segment >> 8), 0x8e, 0xd8];

    /// <summary>hlt.</summary>
    public static byte[] Hlt => [0xf4];

    /// <summary>jmp to itself.</summary>
    public static byte[] LoopForEver => [0xeb, 0xfe];

    /// <summary>Master 8259A: edge triggered, cascaded, vectors from 0x20, 8086 mode, all lines unmasked.</summary>
    public static byte[] InitializePic => [.. Out(0x20, 0x11), .. Out(0x21, 0x20), .. Out(0x21, 0x04), .. Out(0x21, 0x01), .. Out(0x21, 0x00)];

    /// <summary>Says 'R', then waits with interrupts on; the handler at <paramref name="handler"/> says 'I', ends the interrupt and returns.</summary>
    public static void InstallInterruptGuest(Span<byte> memory, byte vector, ushort handler)
    {
        byte[] main = [.. InitializePic, .. Out((byte)'R'), 0xfb, 0xf4, 0xeb, 0xfc]; // sti ; again: hlt ; jmp again (to sti's successor)
        main[^1] = 0xfd;
        main.CopyTo(memory[TinyGuest.Origin..]);
        byte[] isr = [.. Out((byte)'I'), .. Out(0x20, 0x20), 0xcf]; // iret
        isr.CopyTo(memory[handler..]);
        memory[vector * 4] = (byte)handler;
        memory[(vector * 4) + 1] = (byte)(handler >> 8);
        memory[(vector * 4) + 2] = 0;
        memory[(vector * 4) + 3] = 0;
    }
}
