using System.Runtime.InteropServices;
using Iced.Intel;
using Kvm.X86.Translate;

namespace Kvm.X86.Tests.Translate;

/// <summary>What the emitter writes, read back by another's decoder.</summary>
public sealed unsafe class EmitterTests : IDisposable
{
    private const int Room = 4096;

    private static readonly Register[][] Names =
    [
        [Register.AL, Register.CL, Register.DL, Register.BL, Register.SPL, Register.BPL, Register.SIL, Register.DIL, Register.R8L, Register.R9L,
            Register.R10L, Register.R11L, Register.R12L, Register.R13L, Register.R14L, Register.R15L],
        [.. Enumerable.Range(0, 16).Select(n => Register.AX + n)],
        [.. Enumerable.Range(0, 16).Select(n => Register.EAX + n)],
        [.. Enumerable.Range(0, 16).Select(n => Register.RAX + n)],
    ];

    private readonly byte* _bytes = (byte*)NativeMemory.AlignedAlloc(Room, 64);
    private readonly Emitter _emitter = new();

    public EmitterTests() => _emitter.Start(_bytes, _bytes + Room);

    public void Dispose() => NativeMemory.AlignedFree(_bytes);

    public static TheoryData<int, Mnemonic> Stores => new()
    {
        { Opcode.AluStore, Mnemonic.Add }, { Opcode.AluStore + 8, Mnemonic.Or }, { Opcode.AluStore + 16, Mnemonic.Adc }, { Opcode.AluStore + 24, Mnemonic.Sbb },
        { Opcode.AluStore + 32, Mnemonic.And }, { Opcode.AluStore + 40, Mnemonic.Sub }, { Opcode.AluStore + 48, Mnemonic.Xor }, { Opcode.AluStore + 56, Mnemonic.Cmp },
        { Opcode.TestStore, Mnemonic.Test }, { Opcode.XchgStore, Mnemonic.Xchg }, { Opcode.MovStore, Mnemonic.Mov }, { Opcode.Cmpxchg, Mnemonic.Cmpxchg },
        { Opcode.Xadd, Mnemonic.Xadd },
    };

    [Theory]
    [MemberData(nameof(Stores))]
    public void Operations_with_a_byte_form_name_the_same_registers_in_every_size(int opcode, Mnemonic mnemonic)
    {
        foreach (int size in (int[])[1, 2, 4, 8])
        {
            for (int reg = 0; reg < 16; reg++)
            {
                for (int rm = 0; rm < 16; rm++)
                {
                    var i = One(() => _emitter.RegReg(size, opcode, reg, rm));
                    i.Mnemonic.Should().Be(mnemonic);
                    i.Op0Register.Should().Be(Name(size, rm));
                    i.Op1Register.Should().Be(Name(size, reg));
                }
            }
        }
    }

    [Theory]
    [InlineData(Opcode.AluLoad, Mnemonic.Add, 1)]
    [InlineData(Opcode.AluLoad + 56, Mnemonic.Cmp, 8)]
    [InlineData(Opcode.MovLoad, Mnemonic.Mov, 1)]
    [InlineData(Opcode.MovLoad, Mnemonic.Mov, 2)]
    [InlineData(Opcode.Lea, Mnemonic.Lea, 4)]
    [InlineData(Opcode.Lea, Mnemonic.Lea, 8)]
    [InlineData(Opcode.Imul, Mnemonic.Imul, 8)]
    [InlineData(Opcode.Bsf, Mnemonic.Bsf, 4)]
    [InlineData(Opcode.Bsr, Mnemonic.Bsr, 8)]
    [InlineData(Opcode.Popcnt, Mnemonic.Popcnt, 8)]
    [InlineData(Opcode.Tzcnt, Mnemonic.Tzcnt, 4)]
    [InlineData(Opcode.Lzcnt, Mnemonic.Lzcnt, 2)]
    [InlineData(Opcode.Cmovcc + Cc.Ne, Mnemonic.Cmovne, 8)]
    [InlineData(Opcode.Movsxd, Mnemonic.Movsxd, 8)]
    public void Memory_operands_keep_base_index_scale_and_displacement(int opcode, Mnemonic mnemonic, int size)
    {
        int[] displacements = [0, 1, -1, 127, -128, 128, -129, 0x12345678, int.MinValue];
        for (int b = 0; b < 16; b++)
        {
            for (int x = -1; x < 16; x++)
            {
                if (x == Host.Rsp)
                    continue; // cannot be an index
                foreach (int displacement in displacements)
                {
                    HostMemory m = new(b, displacement, x, x < 0 ? 0 : (b + x) & 3);
                    var i = One(() => _emitter.RegMem(size, opcode, (b + 5) & 15, m));
                    i.Mnemonic.Should().Be(mnemonic);
                    i.Op0Register.Should().Be(Name(size, (b + 5) & 15));
                    i.MemoryBase.Should().Be(Name(8, b));
                    i.MemoryIndex.Should().Be(x < 0 ? Register.None : Name(8, x));
                    ((int)i.MemoryDisplacement64).Should().Be(displacement);
                    if (x >= 0)
                        i.MemoryIndexScale.Should().Be(1 << ((b + x) & 3));
                }
            }
        }
    }

    [Fact]
    public void Immediates_keep_their_value_and_take_the_short_form_where_it_holds_them()
    {
        foreach (int size in (int[])[1, 2, 4, 8])
        {
            foreach (int value in (int[])[0, 1, -1, 127, -128])
            {
                var i = One(() => _emitter.RegImm(size, Opcode.AluImmediate, 5, Host.R13, value));
                i.Mnemonic.Should().Be(Mnemonic.Sub);
                i.Op0Register.Should().Be(Name(size, Host.R13));
                i.Length.Should().Be(size == 2 ? 5 : 4);
                Extend((long)i.GetImmediate(1), size).Should().Be(value);
            }

            if (size < 4)
                continue;
            var wide = One(() => _emitter.MemImm(size, Opcode.AluImmediate, 7, new HostMemory(Host.Rbx, 300), 0x1234567));
            wide.Mnemonic.Should().Be(Mnemonic.Cmp);
            wide.MemorySize.GetSize().Should().Be(size);
            wide.GetImmediate(1).Should().Be(0x1234567);
        }
    }

    [Theory]
    [InlineData(0L, 5)]
    [InlineData(0xffffffffL, 5)]
    [InlineData(-1L, 7)]
    [InlineData(long.MinValue, 10)]
    [InlineData(0x123456789abcL, 10)]
    public void Constants_take_the_shortest_move(long value, int length)
    {
        var i = One(() => _emitter.MovConstant(Host.Rdi, value));
        i.Mnemonic.Should().Be(Mnemonic.Mov);
        i.Length.Should().Be(length);
        ((long)i.GetImmediate(1)).Should().Be(value);
        i.Op0Register.Should().Be(length == 5 ? Register.EDI : Register.RDI);
    }

    [Theory]
    [InlineData(1, 4, 8, Mnemonic.Movsx, true)]
    [InlineData(1, 4, 4, Mnemonic.Movzx, false)]
    [InlineData(2, 5, 8, Mnemonic.Movsx, true)]
    [InlineData(2, 6, 4, Mnemonic.Movzx, false)]
    public void Widening_moves_take_the_low_part_of_any_register(int from, int rm, int to, Mnemonic mnemonic, bool signed)
    {
        var i = One(() => _emitter.Extend(signed, from, to, Host.R9, rm));
        i.Mnemonic.Should().Be(mnemonic);
        i.Op0Register.Should().Be(Name(to, Host.R9));
        i.Op1Register.Should().Be(Name(from, rm));
    }

    [Fact]
    public void Jumps_reach_the_places_they_are_patched_to()
    {
        byte* forward = _emitter.Jcc(Cc.L);
        byte* near = _emitter.JccShort(Cc.A);
        _emitter.Jmp(_bytes);
        _emitter.PatchShort(near);
        Emitter.Patch(forward, _emitter.At);
        _emitter.LeaCode(Host.R10, _bytes + 3);
        ulong end = (ulong)(_emitter.At - _bytes);

        var decoder = Decoder.Create(64, new ByteArrayCodeReader(new Span<byte>(_bytes, (int)end).ToArray()));
        decoder.IP = 0;
        var i = decoder.Decode();
        i.Mnemonic.Should().Be(Mnemonic.Jl);
        ulong last = end - 7;
        i.NearBranchTarget.Should().Be(last);
        i = decoder.Decode();
        i.Mnemonic.Should().Be(Mnemonic.Ja);
        i.NearBranchTarget.Should().Be(last);
        decoder.Decode().NearBranchTarget.Should().Be(0);
        i = decoder.Decode();
        i.IPRelativeMemoryAddress.Should().Be(3);
        i.Op0Register.Should().Be(Register.R10);
        decoder.IP.Should().Be(end);
    }

    [Fact]
    public void Single_instructions_without_choices_are_what_their_names_say()
    {
        (Action Write, string Text)[] cases =
        [
            (() => _emitter.Push(Host.R12), "push r12"), (() => _emitter.Pop(Host.Rbp), "pop rbp"), (() => _emitter.Ret(), "ret"),
            (() => _emitter.Lahf(), "lahf"), (() => _emitter.Sahf(), "sahf"), (() => _emitter.Cdq(), "cdq"), (() => _emitter.Cqo(), "cqo"),
            (() => _emitter.Bswap(4, Host.R8), "bswap r8d"), (() => _emitter.Bswap(8, Host.Rcx), "bswap rcx"),
            (() => _emitter.JmpRegister(Host.R11), "jmp r11"), (() => _emitter.JmpMemory(new HostMemory(Host.Rdx, 8)), "jmp qword ptr [rdx+8]"),
            (() => _emitter.RegReg(1, Opcode.Setcc + Cc.Be, 0, Host.Rsi), "setbe sil"),
            (() => _emitter.RegImm8(8, Opcode.ShiftImmediate, 7, Host.R9, 63), "sar r9,3Fh"),
            (() => _emitter.RegReg(4, Opcode.ShiftCl, 4, Host.Rdi), "shl edi,cl"),
            (() => _emitter.RegReg(1, Opcode.Group3, 6, Host.Rcx), "div cl"),
            (() => _emitter.RegMem(8, Opcode.Cmpxchg16B, 1, new HostMemory(Host.Rdi, 0)), "cmpxchg16b [rdi]"),
            (() => _emitter.RegImm8(8, Opcode.BitImmediate, 5, Host.Rax, 40), "bts rax,28h"),
            (() => _emitter.VectorReg(0x0fef | Opcode.SizePrefix, 1, 9), "pxor xmm1,xmm9"),
            (() => _emitter.VectorMem(0x0f6f | Opcode.RepPrefix, 10, new HostMemory(Host.R13, 0)), "movdqu xmm10,[r13]"),
        ];
        IntelFormatter formatter = new();
        foreach (var (write, text) in cases)
        {
            var i = One(write);
            StringOutput output = new();
            formatter.Format(i, output);
            output.ToStringAndReset().Should().Be(text);
        }
    }

    [Fact]
    public void Room_ends_where_the_buffer_does()
    {
        _emitter.HasRoom(Room).Should().BeTrue();
        _emitter.Ret();
        _emitter.HasRoom(Room).Should().BeFalse();
        _emitter.HasRoom(Room - 1).Should().BeTrue();
        _emitter.Align(16);
        ((nint)_emitter.At & 15).Should().Be(0);
    }

    private static Register Name(int size, int register) => Names[size switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 }][register];

    private static long Extend(long value, int size) => size switch { 1 => (sbyte)value, 2 => (short)value, 4 => (int)value, _ => value };

    /// <summary>Emits one instruction and decodes it; nothing may be left over.</summary>
    private Instruction One(Action write)
    {
        _emitter.Start(_bytes, _bytes + Room);
        write();
        int length = (int)(_emitter.At - _bytes);
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(new Span<byte>(_bytes, length).ToArray()));
        var instruction = decoder.Decode();
        decoder.LastError.Should().Be(DecoderError.None);
        instruction.Length.Should().Be(length);
        return instruction;
    }
}
