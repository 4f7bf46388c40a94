using System.Runtime.InteropServices;
using Iced.Intel;
using Kvm.X86.Tests.Native;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Programs;

/// <summary>
/// Runs a program on the host's processor, at the addresses the engine runs it at: everything lies in the lowest two megabytes, so
/// absolute addresses reach it and all sixteen registers belong to the program. The block has the layout of <see cref="NativeRunner"/>.
/// </summary>
internal sealed unsafe class NativeProgram : IDisposable
{
    public const ulong Code = 0x100000, Frame = 0x110000, BlockAddress = 0x120000, Scratch = 0x180000;

    public const int CodeSize = 0x2000, ScratchSize = 0x3000;

    private const int SavedRsp = NativeRunner.BlockSize, Target = SavedRsp + 8, Return = SavedRsp + 16, BlockBytes = NativeRunner.BlockSize + 4096;

    private static readonly AssemblerRegister64[] Registers = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];

    private NativeProgram()
    {
    }

    public static byte* Block => (byte*)BlockAddress;

    public static byte* Memory => (byte*)Scratch;

    /// <summary>Maps the pages; null where the host has something there already, or lacks the instructions.</summary>
    public static NativeProgram? TryCreate()
    {
        if (NativeRunner.Unavailable != null || !Map(Code, CodeSize, 7))
            return null;
        if (Map(Frame, 4096, 7) && Map(BlockAddress, BlockBytes, 3) && Map(Scratch, ScratchSize, 3))
        {
            WriteFrame();
            return new NativeProgram();
        }

        Unmap();
        return null;
    }

    /// <summary>What ends a program: a jump to the frame, seven bytes.</summary>
    public static byte[] End { get; } = [0xff, 0x24, 0x25, .. BitConverter.GetBytes((uint)BlockAddress + Return)];

    /// <summary>Runs from an address until the program's end.</summary>
    public void Run(ulong start)
    {
        new Span<byte>(Block + NativeRunner.ExtendedOut, 832).Clear();
        new Span<byte>(Block + NativeRunner.ExtendedHost + 512, 64).Clear();
        *(ulong*)(Block + Target) = start;
        // The program's stack is no place for a handler: signals wait.
        const int SetMask = 2;
        ulong* none = stackalloc ulong[16], before = stackalloc ulong[16];
        new Span<ulong>(none, 16).Fill(ulong.MaxValue);
        _ = pthread_sigmask(SetMask, none, before);
        ((delegate* unmanaged<void>)Frame)();
        _ = pthread_sigmask(SetMask, before, null);
    }

    private static void WriteFrame()
    {
        Assembler a = new(64);
        var leave = a.CreateLabel();
        foreach (var register in new[] { rbx, rbp, r12, r13, r14, r15 })
            a.push(register);
        a.mov(At(SavedRsp), rsp);
        a.mov(eax, 7);
        a.xor(edx, edx);
        a.xsave64(__[BlockAddress + NativeRunner.ExtendedHost]);
        a.xrstor64(__[BlockAddress + NativeRunner.ExtendedIn]);
        a.push(At(NativeRunner.FlagsIn));
        a.popfq();
        for (int n = 0; n < 16; n++)
            a.mov(Registers[n], At(NativeRunner.GprIn + (8 * n)));
        a.jmp(At(Target));
        a.Label(ref leave);
        for (int n = 0; n < 16; n++)
            a.mov(At(NativeRunner.GprOut + (8 * n)), Registers[n]);
        a.mov(rsp, At(SavedRsp));
        a.pushfq();
        a.pop(At(NativeRunner.FlagsOut));
        a.cld();
        a.mov(eax, 7);
        a.xor(edx, edx);
        a.xsave64(__[BlockAddress + NativeRunner.ExtendedOut]);
        a.xrstor64(__[BlockAddress + NativeRunner.ExtendedHost]);
        foreach (var register in new[] { r15, r14, r13, r12, rbp, rbx })
            a.pop(register);
        a.ret();
        MemoryStream stream = new();
        var result = a.Assemble(new StreamCodeWriter(stream), Frame, BlockEncoderOptions.ReturnNewInstructionOffsets);
        stream.ToArray().CopyTo(new Span<byte>((void*)Frame, 4096));
        *(ulong*)(Block + Return) = result.GetLabelRIP(leave);
    }

    private static AssemblerMemoryOperand At(int offset) => __qword_ptr[BlockAddress + (ulong)offset];

    private static bool Map(ulong address, int size, int protection)
    {
        const int Private = 0x02, Anonymous = 0x20, FixedNoReplace = 0x100000;
        nint at = mmap((nint)address, (nuint)size, protection, Private | Anonymous | FixedNoReplace, -1, 0);
        if (at == (nint)address)
            return true;
        if (at != -1)
            _ = munmap(at, (nuint)size);
        return false;
    }

    private static void Unmap()
    {
        _ = munmap((nint)Code, CodeSize);
        _ = munmap((nint)Frame, 4096);
        _ = munmap((nint)BlockAddress, BlockBytes);
        _ = munmap((nint)Scratch, ScratchSize);
    }

    public void Dispose() => Unmap();

    [DllImport("libc", SetLastError = true)]
    private static extern nint mmap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    [DllImport("libc")]
    private static extern int pthread_sigmask(int how, ulong* mask, ulong* before);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(nint address, nuint length);
}
