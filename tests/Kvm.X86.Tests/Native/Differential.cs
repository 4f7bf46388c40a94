using System.Text;
using Iced.Intel;
using Kvm.X86.Execute.Fpu;

namespace Kvm.X86.Tests.Native;

/// <summary>Runs instructions on the host and in the engine from the same random states and compares everything they may change.</summary>
internal sealed unsafe class Differential : IDisposable
{
    private const int Operand = 0x40;

    private readonly NativeRunner _native = new();
    private readonly HelperMachine _machine = new();
    private readonly StateGenerator _generator;

    public Differential(int seed)
    {
        _generator = new StateGenerator(new Random(seed));
        _native.Prepare([0x90]);
        _native.Run();
        _machine.MxcsrMask = *(uint*)(_native.Block + NativeRunner.ExtendedOut + 28);
    }

    public HelperMachine Machine => _machine;

    /// <summary>Called on the input block before each case, for families that need particular inputs.</summary>
    public Action<StateGenerator, nint>? Adjust { get; set; }

    /// <summary>Whether two x87 registers may be taken as equal; exact where not set.</summary>
    public Func<ulong, ushort, ulong, ushort, bool>? SameExtended { get; set; }

    /// <summary>Bytes of memory, by their distance from the operand, that are not compared.</summary>
    public Func<int, bool>? IgnoreMemory { get; set; }

    /// <summary>Bits of the x87 status word that are compared.</summary>
    public ushort StatusMask { get; set; } = 0xFFFF;

    /// <summary>Status flags that are compared.</summary>
    public uint FlagMask { get; set; } = 0x8D5;

    /// <summary>Compares every form of a code over <paramref name="cases"/> states each; the first difference in words, or null.</summary>
    public string? Check(Code code, int cases)
    {
        int forms = 0;
        foreach (Instruction form in InstructionForms.Of(code, _generator.Random))
        {
            forms++;
            Instruction instruction = form;
            byte[] bytes = InstructionForms.Encode(ref instruction);
            _native.Prepare(bytes);
            for (int i = 0; i < cases; i++)
            {
                string? difference = Once(bytes);
                if (difference != null)
                    return $"{instruction} (case {i}): {difference}";
            }
        }
        return forms == 0 ? $"{code}: no form could be built" : null;
    }

    private string? Once(byte[] instruction)
    {
        byte* block = _native.Block;
        ulong nativeAddress = (ulong)(block + NativeRunner.Memory + Operand);
        ulong address = HelperMachine.MemoryBase + Operand;
        _generator.Fill(block, nativeAddress);
        Adjust?.Invoke(_generator, (nint)block);
        _machine.Load(block);
        _machine.Cpu->Gpr[3] = _machine.Cpu->Gpr[7] = address;
        Buffer.MemoryCopy(block + NativeRunner.Memory, _machine.Host, 4096, 4096);
        byte* before = stackalloc byte[1024];
        Buffer.MemoryCopy(block, before, 1024, 1024);
        _native.Run();
        if (!_machine.Run(instruction, address))
            return $"fault {_machine.Cpu->FaultVector} in the engine\n{Describe(before)}";
        string? difference = Compare(block, nativeAddress, address);
        return difference == null ? null : difference + "\n" + Describe(before);
    }

    private string? Compare(byte* block, ulong nativeAddress, ulong address)
    {
        byte* area = block + NativeRunner.ExtendedOut;
        var cpu = _machine.Cpu;
        if (*(uint*)(area + 24) != cpu->Mxcsr)
            return $"MXCSR host {*(uint*)(area + 24):x} engine {cpu->Mxcsr:x}; " + Registers(area);
        byte* mine = stackalloc byte[512];
        LegacyArea.SaveX87(cpu, mine, true);
        if (*(ushort*)area != *(ushort*)mine || ((*(ushort*)(area + 2) ^ *(ushort*)(mine + 2)) & StatusMask) != 0 || area[4] != mine[4])
            return $"x87 host FCW {*(ushort*)area:x} FSW {*(ushort*)(area + 2):x} tags {area[4]:x}, engine {*(ushort*)mine:x} {*(ushort*)(mine + 2):x} {mine[4]:x}; " + Extended(area, mine);
        for (int i = 0; i < 8; i++)
        {
            byte* a = area + 32 + (16 * i), b = mine + 32 + (16 * i);
            bool same = SameExtended?.Invoke(*(ulong*)a, *(ushort*)(a + 8), *(ulong*)b, *(ushort*)(b + 8))
                ?? (*(ulong*)a == *(ulong*)b && *(ushort*)(a + 8) == *(ushort*)(b + 8));
            if (!same)
                return $"ST{i} " + Extended(area, mine);
        }
        return CompareVectors(area) ?? CompareGeneral(block, nativeAddress, address);
    }

    private string? CompareVectors(byte* area)
    {
        for (int i = 0; i < 16; i++)
        {
            foreach (int offset in new[] { 160 + (16 * i), 576 + (16 * i) })
            {
                UInt128 host = *(UInt128*)(area + offset), engine = *(UInt128*)(_machine.Cpu->Extended + offset);
                if (host != engine)
                    return $"vector {i} at {offset}: host {host:x32} engine {engine:x32}";
            }
        }
        return null;
    }

    private string? CompareGeneral(byte* block, ulong nativeAddress, ulong address)
    {
        for (int i = 0; i < 15; i++)
        {
            if (i == 4)
                continue;
            ulong host = ((ulong*)(block + NativeRunner.GprOut))[i], engine = _machine.Cpu->Gpr[i];
            if (host != engine && !(host == nativeAddress && engine == address))
                return $"register {i}: host {host:x} engine {engine:x}";
        }
        uint flags = (uint)*(ulong*)(block + NativeRunner.FlagsOut) & FlagMask;
        if (flags != (_machine.Flags & FlagMask))
            return $"flags host {flags:x} engine {_machine.Flags & FlagMask:x}";
        for (int i = 0; i < 1024; i++)
        {
            if (IgnoreMemory?.Invoke(i - Operand) == true)
                continue;
            if (block[NativeRunner.Memory + i] != _machine.Host[i])
                return $"memory at operand{i - Operand:+0;-0}: host {block[NativeRunner.Memory + i]:x2} engine {_machine.Host[i]:x2}";
        }
        return null;
    }

    private static string Registers(byte* area) => $"host results xmm9 {*(UInt128*)(area + 160 + 144):x32}";

    private static string Extended(byte* host, byte* engine)
    {
        StringBuilder text = new();
        for (int i = 0; i < 4; i++)
        {
            byte* a = host + 32 + (16 * i), b = engine + 32 + (16 * i);
            text.Append($"ST{i} host {*(ushort*)(a + 8):x4}:{*(ulong*)a:x16} engine {*(ushort*)(b + 8):x4}:{*(ulong*)b:x16}; ");
        }
        return text.ToString();
    }

    private static string Describe(byte* area)
    {
        StringBuilder text = new($"  from MXCSR {*(uint*)(area + 24):x} FCW {*(ushort*)area:x} FSW {*(ushort*)(area + 2):x} tags {area[4]:x}\n");
        for (int i = 0; i < 4; i++)
            text.Append($"  ST{i} {*(ushort*)(area + 32 + (16 * i) + 8):x4}:{*(ulong*)(area + 32 + (16 * i)):x16}");
        foreach (int i in new[] { 9, 2, 14, 5, 0 })
            text.Append($"\n  ymm{i} {*(UInt128*)(area + 576 + (16 * i)):x32}_{*(UInt128*)(area + 160 + (16 * i)):x32}");
        return text.ToString();
    }

    public void Dispose()
    {
        _native.Dispose();
        _machine.Dispose();
    }
}
