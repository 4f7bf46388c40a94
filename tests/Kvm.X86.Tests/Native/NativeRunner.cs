using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Native;

/// <summary>
/// Runs one instruction on the host's processor with chosen registers: extended state by XRSTOR before and XSAVE after, general
/// registers and flags by moves. RSP and R15 belong to the runner.
/// </summary>
internal sealed unsafe class NativeRunner : IDisposable
{
    /// <summary>Offsets in the block at <see cref="Block"/>.</summary>
    public const int ExtendedIn = 0, ExtendedOut = 4096, ExtendedHost = 8192, GprIn = 12288, FlagsIn = GprIn + 128,
        GprOut = GprIn + 256, FlagsOut = GprOut + 128, Memory = 16384, BlockSize = 32768;

    private const int CodeSize = 4096;

    // Registers in the order of their encoding that the instruction may use.
    private static readonly int[] Usable = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

    private readonly byte* _code;

    public NativeRunner()
    {
        _code = (byte*)mmap(0, CodeSize, 7, 0x22, -1, 0);
        Block = (byte*)NativeMemory.AlignedAlloc(BlockSize, 4096);
        new Span<byte>(Block, BlockSize).Clear();
        *(ulong*)(Block + ExtendedIn + 512) = 7;
        *(uint*)(Block + ExtendedIn + 24) = 0x1F80;
        *(ushort*)(Block + ExtendedIn) = 0x37F;
        *(ulong*)(Block + FlagsIn) = 0x202;
    }

    /// <summary>Why this host cannot run the instructions, or null.</summary>
    public static string? Unavailable =>
        RuntimeInformation.ProcessArchitecture != Architecture.X64 ? "the host is not x86-64"
        : !System.Runtime.Intrinsics.X86.Avx2.IsSupported ? "the host's processor has no AVX2" : null;

    public byte* Block { get; }

    /// <summary>Builds the code around an instruction's bytes.</summary>
    public void Prepare(ReadOnlySpan<byte> instruction)
    {
        Assembler a = new(64);
        a.push(rbx);
        a.push(rbp);
        a.push(r12);
        a.push(r13);
        a.push(r14);
        a.push(r15);
        a.mov(r15, rdi);
        a.mov(eax, 7);
        a.xor(edx, edx);
        a.xsave64(__[r15 + ExtendedHost]);
        a.xrstor64(__[r15 + ExtendedIn]);
        a.push(__qword_ptr[r15 + FlagsIn]);
        a.popfq();
        foreach (int i in Usable)
            a.mov(Register64(i), __[r15 + GprIn + (8 * i)]);
        a.db(instruction.ToArray());
        foreach (int i in Usable)
            a.mov(__[r15 + GprOut + (8 * i)], Register64(i));
        a.pushfq();
        a.pop(__qword_ptr[r15 + FlagsOut]);
        a.cld();
        a.mov(eax, 7);
        a.xor(edx, edx);
        a.xsave64(__[r15 + ExtendedOut]);
        a.xrstor64(__[r15 + ExtendedHost]);
        a.pop(r15);
        a.pop(r14);
        a.pop(r13);
        a.pop(r12);
        a.pop(rbp);
        a.pop(rbx);
        a.ret();
        Writer writer = new(_code);
        a.Assemble(writer, (ulong)_code);
    }

    /// <summary>Runs the prepared code on the block.</summary>
    public void Run()
    {
        // The header of the output area: XSAVE keeps what it does not write.
        new Span<byte>(Block + ExtendedOut + 512, 64).Clear();
        new Span<byte>(Block + ExtendedHost + 512, 64).Clear();
        ((delegate* unmanaged<byte*, void>)_code)(Block);
    }

    public void Dispose()
    {
        _ = munmap((nint)_code, CodeSize);
        NativeMemory.AlignedFree(Block);
    }

    private static AssemblerRegister64 Register64(int number) => number switch
    {
        0 => rax,
        1 => rcx,
        2 => rdx,
        3 => rbx,
        5 => rbp,
        6 => rsi,
        7 => rdi,
        8 => r8,
        9 => r9,
        10 => r10,
        11 => r11,
        12 => r12,
        13 => r13,
        _ => r14,
    };

    [DllImport("libc", SetLastError = true)]
    private static extern nint mmap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(nint address, nuint length);

    private sealed class Writer(byte* at) : CodeWriter
    {
        private byte* _at = at;

        public override void WriteByte(byte value) => *_at++ = value;
    }
}
