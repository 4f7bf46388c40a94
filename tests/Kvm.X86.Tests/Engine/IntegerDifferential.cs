using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Engine;

/// <summary>Runs integer instructions through decoder and handlers and on the host, from the same random states.</summary>
internal sealed unsafe class IntegerDifferential : IDisposable
{
    private const int Operand = 0x40;

    private readonly NativeRunner _native = new();
    private readonly EngineRig _rig = new();
    private readonly StateGenerator _generator;
    private readonly IntegerForms _forms;

    public IntegerDifferential(int seed)
    {
        var random = new Random(seed);
        _generator = new StateGenerator(random);
        _forms = new IntegerForms(random);
    }

    /// <summary>Compares forms of a code; the first difference in words, or null. Sets how many cases were compared.</summary>
    public string? Check(Code code, int forms, int cases, out int compared)
    {
        compared = 0;
        for (int n = 0; n < forms; n++)
        {
            if (!_forms.TryBuild(code, (n & 1) != 0, out var instruction))
                continue;
            byte[] bytes = InstructionForms.Encode(ref instruction);
            _native.Prepare(bytes);
            bytes.CopyTo(new Span<byte>(_rig.Host + EngineRig.Code, 16));
            for (int c = 0; c < cases; c++)
            {
                string? difference = Once(instruction, ref compared);
                if (difference != null)
                    return $"{instruction} [{Convert.ToHexString(bytes)}]: {difference}";
            }
        }

        return null;
    }

    private string? Once(in Instruction instruction, ref int compared)
    {
        byte* block = _native.Block;
        ulong nativeAddress = (ulong)(block + NativeRunner.Memory + Operand), address = EngineRig.Data + Operand;
        _generator.Fill(block, nativeAddress);
        var cpu = _rig.Cpu;
        ulong* gpr = (ulong*)(block + NativeRunner.GprIn);
        if (instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register)
            gpr[instruction.Op1Register.GetFullRegister() - Register.RAX] = (ulong)(long)_generator.Random.Next(-200, 200);
        for (int n = 0; n < 16; n++)
            cpu->Gpr[n] = gpr[n];
        cpu->Gpr[3] = cpu->Gpr[7] = address;
        cpu->Gpr[4] = EngineRig.Stack;
        cpu->Rflags = (uint)*(ulong*)(block + NativeRunner.FlagsIn);
        cpu->FlagKind = FlagKind.Explicit;
        cpu->Rip = EngineRig.Code;
        Buffer.MemoryCopy(block + NativeRunner.Memory, _rig.Host + EngineRig.Data, 4096, 4096);
        uint flagsBefore = cpu->Rflags;
        ulong rax = gpr[0], rcx = gpr[1], rdx = gpr[2];
        int fault = _rig.Step();
        if (fault == 0 && instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv)
            return null;
        if (fault >= 0)
            return $"fault {fault}";
        if (instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && UndefinedFlags.Count(instruction, (int)rcx) > UndefinedFlags.Op0Size(instruction) * 8)
            return null; // the result is undefined too
        _native.Run();
        compared++;
        string? difference = Compare(instruction, block, nativeAddress, address, rcx);
        return difference == null ? null : $"{difference}; from rax {rax:x} rcx {rcx:x} rdx {rdx:x} flags {flagsBefore:x}";
    }

    private string? Compare(in Instruction instruction, byte* block, ulong nativeAddress, ulong address, ulong rcx)
    {
        var cpu = _rig.Cpu;
        if (cpu->Rip != EngineRig.Code + (ulong)instruction.Length)
            return $"rip {cpu->Rip:x}";
        for (int n = 0; n < 15; n++)
        {
            ulong host = ((ulong*)(block + NativeRunner.GprOut))[n], engine = cpu->Gpr[n];
            if (n != 4 && host != engine && !(host == nativeAddress && engine == address))
                return $"register {n}: host {host:x} engine {engine:x}";
        }

        uint mask = UndefinedFlags.Defined(instruction, (int)rcx), hostFlags = (uint)*(ulong*)(block + NativeRunner.FlagsOut) & mask;
        if (hostFlags != (Flags.Get(cpu) & mask))
            return $"flags host {hostFlags:x} engine {Flags.Get(cpu) & mask:x}";
        for (int n = 0; n < 1024; n++)
        {
            if (block[NativeRunner.Memory + n] != _rig.Host[EngineRig.Data + (ulong)n])
                return $"memory at operand{n - Operand:+0;-0}: host {block[NativeRunner.Memory + n]:x2} engine {_rig.Host[EngineRig.Data + (ulong)n]:x2}";
        }

        return null;
    }

    public void Dispose()
    {
        _native.Dispose();
        _rig.Dispose();
    }
}

/// <summary>Which status flags an instruction defines (SDM vol. 2).</summary>
internal static class UndefinedFlags
{
    public static uint Defined(in Instruction i, int cl)
    {
        const uint All = Bits.StatusFlags;
        switch (i.Mnemonic)
        {
            case Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test: return All & ~Bits.Af;
            case Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd:
                int count = Count(i, cl);
                return count == 0 ? All : count == 1 ? All & ~Bits.Af
                    : count >= i.Op0Size() * 8 ? All & ~(Bits.Af | Bits.Of | Bits.Cf) : All & ~(Bits.Af | Bits.Of);
            case Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr: return Count(i, cl) is 0 or 1 ? All : All & ~Bits.Of;
            case Mnemonic.Mul or Mnemonic.Imul: return Bits.Cf | Bits.Of;
            case Mnemonic.Div or Mnemonic.Idiv: return 0;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc: return Bits.Cf | Bits.Zf;
            case Mnemonic.Bsf or Mnemonic.Bsr: return Bits.Zf;
            case Mnemonic.Tzcnt or Mnemonic.Lzcnt: return Bits.Cf | Bits.Zf;
            case Mnemonic.Bextr: return All & ~(Bits.Af | Bits.Sf | Bits.Pf);
            case Mnemonic.Bzhi or Mnemonic.Blsi or Mnemonic.Blsr or Mnemonic.Blsmsk or Mnemonic.Andn: return All & ~(Bits.Af | Bits.Pf);
            default: return All;
        }
    }

    public static int Count(in Instruction i, int cl)
    {
        int last = i.OpCount - 1;
        int count = i.GetOpKind(last) == OpKind.Register ? cl : i.Immediate8;
        return count & (i.Op0Size() == 8 ? 63 : 31);
    }

    public static int Op0Size(this in Instruction i) => i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() : i.MemorySize.GetSize();
}
