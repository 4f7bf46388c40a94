using System.Globalization;
using System.Text;
using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Programs;

/// <summary>A program the engine and the host disagree about, as short as it could be made.</summary>
/// <param name="Text">The instructions.</param>
/// <param name="Bytes">Their bytes.</param>
/// <param name="Seed">The seed of the state it starts from.</param>
/// <param name="Difference">What differed.</param>
internal sealed record Disagreement(string Text, string Bytes, int Seed, string Difference);

/// <summary>
/// Runs programs from random states in the engine by steps, in the engine by blocks and on the host, and compares registers, defined
/// flags, vectors, MXCSR, x87 and memory. A program that faults or reads an undefined flag is first relieved of the instruction that does.
/// </summary>
internal sealed unsafe class ProgramDifferential : IDisposable
{
    private const int MostSteps = 400;

    private readonly NativeProgram _native;
    private readonly EngineProgram _engine = new();
    private readonly byte[] _memory = new byte[NativeProgram.ScratchSize];
    private readonly byte[] _legacy = new byte[512];
    private List<Item> _items = [];
    private ulong[] _addresses = [];
    private ulong _start;
    private int _culprit;
    private byte[] _code = [];
    private readonly Journal? _journal = Journal.TryCreate(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_LAST"));
    private uint _undefined;

    private ProgramDifferential(NativeProgram native) => _native = native;

    /// <summary>States compared.</summary>
    public long Cases { get; private set; }

    /// <summary>Divisions and pointers that faulted in the engine, as they should.</summary>
    public long Faults { get; private set; }

    public static ProgramDifferential? TryCreate() => NativeProgram.TryCreate() is { } native ? new ProgramDifferential(native) : null;

    /// <summary>Compares a program over several states; null where all agree.</summary>
    public Disagreement? Check(List<Item> items, int seed, int states)
    {
        for (int n = 0; n < states; n++)
        {
            items = Relieve(items, seed + n);
            if (items.Count == 0)
                return null;
            string? difference = Compare(seed + n);
            if (difference != null)
                return Shrink(items, seed + n, difference);
        }

        return null;
    }

    /// <summary>Takes instructions out until the program runs to its end by steps, from this state.</summary>
    private List<Item> Relieve(List<Item> items, int seed)
    {
        Place(items, seed);
        while (items.Count > 0 && !Steps(seed))
        {
            items = Without(items, _culprit);
            Place(items, seed);
        }

        return items;
    }

    private static List<Item> Without(List<Item> items, int number)
    {
        List<Item> rest = [];
        for (int n = 0; n < items.Count; n++)
        {
            if (n != number)
                rest.Add(items[n] with { Target = items[n].Target > number ? items[n].Target - 1 : items[n].Target });
        }

        return rest;
    }

    private Disagreement Shrink(List<Item> items, int seed, string difference)
    {
        for (int n = items.Count - 1; n >= 0 && items.Count > 1; n--)
        {
            var shorter = Without(items, n);
            Place(shorter, seed);
            if (!Steps(seed) || Compare(seed) is not { } still)
                continue;
            items = shorter;
            difference = still;
            n = Math.Min(n, items.Count);
        }

        Place(items, seed);
        StringBuilder text = new();
        foreach (var item in items)
            text.Append(text.Length == 0 ? "" : "; ").Append(item.Kind == ItemKind.Plain ? item.Instruction.ToString() : $"{item.Kind} {item.Choice} to {item.Target}");
        return new Disagreement(text.ToString(), Convert.ToHexString(_code), seed, difference);
    }

    /// <summary>Lays a program out, at an address that depends on the seed's sixteenth: sometimes across two pages.</summary>
    private byte[] Place(List<Item> items, int seed)
    {
        if (ReferenceEquals(_items, items))
            return [];
        _items = items;
        _start = NativeProgram.Code + (((ulong)(uint)seed >> 4) * 61 % 4090) + 6;
        _addresses = new ulong[items.Count + 1];
        ulong at = _start;
        for (int n = 0; n < items.Count; n++)
        {
            _addresses[n] = at;
            at += (ulong)items[n].Encode(at, at).Length;
        }

        _addresses[items.Count] = at;
        MemoryStream code = new();
        for (int n = 0; n < items.Count; n++)
            code.Write(items[n].Encode(_addresses[n], _addresses[items[n].Target]));
        byte[] bytes = code.ToArray();
        bytes.CopyTo(new Span<byte>((void*)_start, bytes.Length));
        NativeProgram.End.CopyTo(new Span<byte>((void*)at, NativeProgram.End.Length));
        _engine.Place(bytes, _start);
        _code = bytes;
        return bytes;
    }

    /// <summary>What is about to run, where a run that ends the process can still be read.</summary>
    private void Note(int seed, char tier) =>
        _journal?.Write(0, System.Text.Encoding.ASCII.GetBytes($"{Convert.ToHexString(_code)} {seed} # {tier}\n".PadRight(600)));

    /// <summary>Fills the block and the template of the scratch pages.</summary>
    private void Fill(int seed)
    {
        byte* block = NativeProgram.Block;
        StateGenerator generator = new(new Random(seed));
        generator.Fill(block, NativeProgram.Scratch + 0x800);
        var gpr = (ulong*)(block + NativeRunner.GprIn);
        foreach (int n in ProgramGenerator.Pointers)
        {
            ulong page = NativeProgram.Scratch + (ulong)(generator.Random.Next(1, 3) * 4096);
            gpr[n] = generator.Random.Next(4) == 0 ? page - (ulong)generator.Random.Next(40) : page - 0x800 + (ulong)(32 * generator.Random.Next(-4, 5));
            fixed (byte* memory = _memory)
            {
                byte* at = memory + (gpr[n] - NativeProgram.Scratch);
                for (int i = -64; i < 64; i += 16)
                    generator.Vector(at + i);
            }
        }

        foreach (int n in ProgramGenerator.Small)
        {
            if (generator.Random.Next(8) != 0)
                gpr[n] = (ulong)generator.Random.Next(generator.Random.Next(2) == 0 ? 5 : 36);
        }

        if (generator.Random.Next(3) == 0)
            gpr[2] = (uint)generator.Random.Next(2);
        gpr[4] = NativeProgram.Scratch + 0x2c00 + (ulong)(8 * generator.Random.Next(4));
        if (generator.Random.Next(4) == 0)
            *(ulong*)(block + NativeRunner.FlagsIn) |= 0x400;
    }

    /// <summary>Runs the program by steps. False where an instruction is to be taken out: <see cref="_culprit"/>.</summary>
    private bool Steps(int seed)
    {
        Note(seed, 's');
        Fill(seed);
        fixed (byte* memory = _memory)
            _engine.Load(NativeProgram.Block, memory, _start);
        var cpu = _engine.Cpu;
        _undefined = 0;
        ulong end = _addresses[^1];
        int repeated = 0;
        for (int n = 0; n < MostSteps; n++)
        {
            if (cpu->Rip == end)
                return true;
            ulong rip = cpu->Rip;
            int number = Array.IndexOf(_addresses, rip);
            if (number < 0)
            {
                // Inside a branch of two instructions.
                if (_engine.Step() < 0)
                    continue;
                return false;
            }

            _culprit = number;
            if (_items[number].Kind == ItemKind.Plain ? !TrackFlags(_items[number].Instruction) : !TrackFlags(_items[number]))
                return false;
            if (_engine.Step() >= 0)
            {
                Faults++;
                return false;
            }

            if (cpu->Rip == rip && ++repeated > 4)
                return false;
        }

        return false;
    }

    private bool TrackFlags(Item item)
    {
        if (item.Kind == ItemKind.Jcc)
        {
            uint read = (item.Choice & 15) switch
            {
                0 or 1 => Bits.Of,
                2 or 3 => Bits.Cf,
                4 or 5 => Bits.Zf,
                6 or 7 => Bits.Cf | Bits.Zf,
                8 or 9 => Bits.Sf,
                10 or 11 => Bits.Pf,
                12 or 13 => Bits.Sf | Bits.Of,
                _ => Bits.Sf | Bits.Of | Bits.Zf,
            };
            return (read & _undefined) == 0;
        }

        return item.Kind != ItemKind.Loop || (item.Choice & 3) > 1 || (_undefined & Bits.Zf) == 0;
    }

    /// <summary>Notes which flags an instruction leaves undefined. False where it reads one, or its result is undefined.</summary>
    private bool TrackFlags(in Instruction i)
    {
        if ((Status(i.RflagsRead) & _undefined) != 0)
            return false;
        int cl = (int)_engine.Cpu->Gpr[1];
        bool isShift = i.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd
            or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr;
        int count = isShift ? UndefinedFlags.Count(i, cl) : -1;
        if (i.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && count > i.Op0Size() * 8)
            return false;
        if (count == 0 || ((i.HasRepPrefix || i.HasRepnePrefix) && i.IsStringInstruction))
            return true; // changes no flag, or not always: what is undefined remains so
        _undefined = (_undefined & ~Status(i.RflagsModified)) | (Bits.StatusFlags & ~UndefinedFlags.Defined(i, cl));
        return true;
    }

    private static uint Status(RflagsBits bits)
    {
        uint flags = 0;
        foreach (var (bit, flag) in new[] { (RflagsBits.OF, Bits.Of), (RflagsBits.SF, Bits.Sf), (RflagsBits.ZF, Bits.Zf), (RflagsBits.AF, Bits.Af), (RflagsBits.CF, Bits.Cf), (RflagsBits.PF, Bits.Pf) })
            flags |= (bits & bit) != 0 ? (uint)flag : 0;
        return flags;
    }

    /// <summary>After <see cref="Steps"/> has come to the end: runs the same on the host and by blocks, and compares all three.</summary>
    private string? Compare(int seed)
    {
        Cases++;
        _memory.CopyTo(new Span<byte>(NativeProgram.Memory, NativeProgram.ScratchSize));
        Note(seed, 'h');
        _native.Run(_start);
        Note(seed, 'b');
        string? difference = Differs();
        if (difference != null)
            return "by steps: " + difference + Start(seed);
        fixed (byte* memory = _memory)
            _engine.Load(NativeProgram.Block, memory, _start);
        int vector = _engine.RunBlocks();
        if (vector != 14 || _engine.Cpu->Rip != _addresses[^1])
            return $"by blocks: vector {vector} at {_engine.Cpu->Rip - _start:x}, address {_engine.Cpu->FaultAddress:x}" + Start(seed);
        difference = Differs();
        return difference == null ? null : "by blocks: " + difference + Start(seed);
    }

    private string? Differs()
    {
        var cpu = _engine.Cpu;
        byte* block = NativeProgram.Block, area = block + NativeRunner.ExtendedOut;
        for (int n = 0; n < 16; n++)
        {
            ulong host = ((ulong*)(block + NativeRunner.GprOut))[n];
            if (host != cpu->Gpr[n])
                return $"register {n}: host {host:x} engine {cpu->Gpr[n]:x}";
        }

        uint mask = Bits.StatusFlags & ~_undefined, flags = (uint)*(ulong*)(block + NativeRunner.FlagsOut);
        if ((flags & mask) != (Flags.Get(cpu) & mask) || ((flags ^ cpu->Rflags) & 0x400) != 0)
            return $"flags: host {flags & (mask | 0x400):x} engine {(Flags.Get(cpu) & mask) | (cpu->Rflags & 0x400):x}, compared {mask:x}";
        if (*(uint*)(area + 24) != cpu->Mxcsr)
            return $"MXCSR: host {*(uint*)(area + 24):x} engine {cpu->Mxcsr:x}";
        foreach (int offset in new[] { 160, 576 })
        {
            Span<byte> host = new(area + offset, 256), engine = new((byte*)cpu->Extended + offset, 256);
            int at = host.CommonPrefixLength(engine);
            if (at < 256)
                return $"{(offset == 160 ? "xmm" : "upper ymm")} {at / 16}: host {Vector(host, at)} engine {Vector(engine, at)}";
        }

        return DiffersX87(area) ?? DiffersMemory();
    }

    private string? DiffersX87(byte* area)
    {
        fixed (byte* mine = _legacy)
        {
            LegacyArea.SaveX87(_engine.Cpu, mine, true);
            if (*(uint*)area != *(uint*)mine || area[4] != mine[4])
                return $"x87: host {*(uint*)area:x} tags {area[4]:x}, engine {*(uint*)mine:x} tags {mine[4]:x}";
            for (int n = 0; n < 8; n++)
            {
                byte* a = area + 32 + (16 * n), b = mine + 32 + (16 * n);
                if (*(ulong*)a != *(ulong*)b || *(ushort*)(a + 8) != *(ushort*)(b + 8))
                    return $"ST{n}: host {*(ushort*)(a + 8):x}:{*(ulong*)a:x} engine {*(ushort*)(b + 8):x}:{*(ulong*)b:x}";
            }
        }

        return null;
    }

    private string? DiffersMemory()
    {
        for (int n = 0; n < NativeProgram.ScratchSize / 4096; n++)
        {
            Span<byte> host = new(NativeProgram.Memory + (n * 4096), 4096), engine = new(_engine.Page(n), 4096);
            int at = host.CommonPrefixLength(engine);
            if (at < 4096)
                return $"memory at {NativeProgram.Scratch + (ulong)((n * 4096) + at):x}: host {host[at]:x2} engine {engine[at]:x2}";
        }

        return null;
    }

    private static string Vector(Span<byte> bytes, int at) => BitConverter.ToUInt128(bytes[(at & ~15)..]).ToString("x32", CultureInfo.InvariantCulture);

    private static string Start(int seed)
    {
        StringBuilder text = new($"\n  from seed {seed}, flags {*(ulong*)(NativeProgram.Block + NativeRunner.FlagsIn):x}, registers");
        for (int n = 0; n < 16; n++)
            text.Append(CultureInfo.InvariantCulture, $" {((ulong*)(NativeProgram.Block + NativeRunner.GprIn))[n]:x}");
        return text.ToString();
    }

    public void Dispose()
    {
        _journal?.Dispose();
        _engine.Dispose();
        _native.Dispose();
    }
}
