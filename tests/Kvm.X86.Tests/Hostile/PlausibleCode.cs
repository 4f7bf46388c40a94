using Iced.Intel;
using Kvm.X86.State;
using Kvm.X86.Tests.Translate;

namespace Kvm.X86.Tests.Hostile;

/// <summary>
/// 64-bit code that runs on: loops of random instructions, each leading to another, with pointers that lie anywhere in memory, in
/// page tables and in the code itself too.
/// </summary>
internal static unsafe class PlausibleCode
{
    private const int First = 0x30000, Step = 0x1700, Count = 40;

    /// <summary>Writes the loops.</summary>
    public static void Write(Random random, byte* memory)
    {
        ProgramGenerator generator = new(random) { Codes = TierDifferentialTests.Codes };
        for (int n = 0; n < Count; n++)
        {
            byte[]? code = null;
            while (code == null || code.Length > 2000)
                code = generator.Make((ulong)At(n), random.Next(2, 30));
            // Instead of UD2: new pointers, and on to another.
            code.AsSpan(0, code.Length - 2).CopyTo(new Span<byte>(memory + At(n), code.Length));
            byte* to = memory + At(n) + code.Length - 2;
            to = Move(to, 0xbb48, Pointer(random)); // RBX
            to = Move(to, 0xbf48, Pointer(random)); // RDI
            to = Move(to, 0xb949, Pointer(random)); // R9
            to = Move(to, 0xbc48, Pointer(random)); // RSP
            to = Move(to, 0xbf49, (ulong)random.Next(1, 6)); // R15, the loop's count
            *to++ = 0xe9;
            *(int*)to = (int)(memory + Entry(random) - (to + 4));
        }
    }

    /// <summary>A state that begins at one of the loops, with all rights.</summary>
    public static void Begin(Random random, ArchitecturalState state)
    {
        state.Rip = Entry(random);
        state.Rflags = 2;
        state.Dr7 = 0x400;
        state.Gpr[3] = Pointer(random);
        state.Gpr[7] = Pointer(random);
        state.Gpr[9] = Pointer(random);
        state.Gpr[4] = Pointer(random);
        state.Gpr[15] = 3;
        state.Cr0 &= ~0xcUL;
    }

    private static int At(int n) => First + (n * Step);

    private static ulong Entry(Random random) => (ulong)At(random.Next(Count));

    private static byte* Move(byte* to, ushort opcode, ulong value)
    {
        *(ushort*)to = opcode;
        *(ulong*)(to + 2) = value;
        return to + 10;
    }

    /// <summary>Mostly data, sometimes code, rarely tables or nothing at all.</summary>
    private static ulong Pointer(Random random) => random.Next(24) switch
    {
        0 => (ulong)random.Next(0x1000, 0x9800),
        1 => (ulong)random.Next(FencedMemory.Size - 0x100, FencedMemory.Size + 0x20000),
        2 or 3 => (ulong)At(random.Next(Count)) + (ulong)random.Next(0x200),
        4 => (ulong)random.NextInt64(),
        _ => 0x80000 + (ulong)random.Next(0x70000),
    };
}
