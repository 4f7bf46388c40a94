using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Translate;

/// <summary>Runs random programs interpreted and translated, from the same states, and compares everything a guest can see.</summary>
internal sealed unsafe class TierDifferential : IDisposable
{
    private static readonly ulong[] Pages = [EngineRig.Data, TierRig.ReadOnly, TierRig.Pair, TierRig.Pair + 0x1000, EngineRig.Stack - 0x1000, EngineRig.Stack];

    private readonly TierRig _interpreted = new(0);
    private readonly TierRig _translated;
    private readonly Random _random;
    private readonly StateGenerator _states;
    private readonly ProgramGenerator _programs;
    private readonly byte[] _page = new byte[4096];

    public TierDifferential(int seed, IReadOnlyList<Code> codes, int threshold)
    {
        _random = new Random(seed);
        _states = new StateGenerator(_random);
        _programs = new ProgramGenerator(_random) { Codes = codes };
        _translated = new TierRig(threshold);
    }

    /// <summary>Faults seen, by vector: a test that never faults proves little about faults.</summary>
    public int[] Faults { get; } = new int[32];

    public ulong Translations => _translated.Tier.Translations;

    /// <summary>One program from several states; the first difference in words, or null.</summary>
    public string? Once(int length, int states)
    {
        // Now and then across the end of a page.
        ulong address = EngineRig.Code + (_random.Next(3) == 0 ? 0x1000 - (ulong)_random.Next(1, 120) : (ulong)_random.Next(64));
        byte[]? code = _programs.Make(address, length);
        if (code == null || code.Length > 2048)
            return null;
        _interpreted.Put(address, code);
        _translated.Put(address, code);
        for (int n = 0; n < states; n++)
        {
            Prepare(address);
            int expected = _interpreted.Run(), seen = _translated.Run();
            Faults[expected & 31]++;
            string? difference = Compare(expected, seen);
            if (difference != null)
                return $"{difference}\n{string.Join('\n', _programs.Program)}";
        }

        return null;
    }

    private void Prepare(ulong address)
    {
        foreach (ulong page in Pages)
        {
            _random.NextBytes(_page);
            for (int n = _random.Next(16) * 8; n < 4096; n += 128)
                BitConverter.TryWriteBytes(_page.AsSpan(n), _states.General());
            _page.CopyTo(new Span<byte>(_interpreted.Memory.Host + page, 4096));
            _page.CopyTo(new Span<byte>(_translated.Memory.Host + page, 4096));
        }

        ulong flags = 0x202u | ((uint)_random.Next(1 << 12) & 0x8D5);
        Span<ulong> registers = stackalloc ulong[16];
        for (int n = 0; n < 16; n++)
            registers[n] = _states.General();
        registers[3] = Pointer();
        registers[7] = Pointer();
        registers[9] = Pointer();
        registers[4] = _random.Next(8) == 0 ? Pointer() : EngineRig.Stack + (ulong)_random.Next(-64, 64);
        registers[15] = 3;
        ulong segment = Pointer();
        foreach (var rig in (TierRig[])[_interpreted, _translated])
        {
            for (int n = 0; n < 16; n++)
                rig.Cpu->Gpr[n] = registers[n];
            rig.Cpu->Rflags = (uint)flags;
            rig.Cpu->FlagKind = FlagKind.Explicit;
            rig.Cpu->Rip = address;
            rig.Cpu->Segments[Seg.Fs].Base = segment;
            rig.Cpu->Segments[Seg.Fs].Attributes = 0xc93;
            rig.Cpu->FaultAddress = 0;
            rig.Context.FlushTlb(true);
        }
    }

    /// <summary>Mostly into good pages, often near their ends.</summary>
    private ulong Pointer()
    {
        ulong page = _random.Next(10) switch { 0 => TierRig.Missing, 1 => TierRig.ReadOnly, 2 or 3 => EngineRig.Data, _ => TierRig.Pair };
        return page + (_random.Next(3) == 0 ? (ulong)(0x1000 - _random.Next(1, 70)) : (ulong)_random.Next(64, 0xf00));
    }

    private string? Compare(int expected, int seen)
    {
        Cpu* a = _interpreted.Cpu, b = _translated.Cpu;
        if (expected != seen || a->Rip != b->Rip)
            return $"fault {expected} at {a->Rip:x}, translated {seen} at {b->Rip:x}";
        if (a->FaultError != b->FaultError || a->FaultAddress != b->FaultAddress)
            return $"fault {expected}: error {a->FaultError:x} address {a->FaultAddress:x}, translated {b->FaultError:x} {b->FaultAddress:x}";
        for (int n = 0; n < 16; n++)
        {
            if (a->Gpr[n] != b->Gpr[n])
                return $"register {n}: {a->Gpr[n]:x}, translated {b->Gpr[n]:x} (fault {expected} at {a->Rip:x})";
        }

        uint mask = _programs.Defined.GetValueOrDefault(a->Rip, 0u) | ~Bits.StatusFlags;
        if (((Flags.Get(a) ^ Flags.Get(b)) & mask) != 0)
            return $"flags {Flags.Get(a) & mask:x}, translated {Flags.Get(b) & mask:x} (fault {expected} at {a->Rip:x})";
        if (_interpreted.Retired != _translated.Retired)
            return $"retired {_interpreted.Retired}, translated {_translated.Retired} (fault {expected} at {a->Rip:x})";
        foreach (ulong page in Pages)
        {
            if (!new Span<byte>(_interpreted.Memory.Host + page, 4096).SequenceEqual(new Span<byte>(_translated.Memory.Host + page, 4096)))
                return $"memory of page {page:x} (fault {expected} at {a->Rip:x})";
        }

        return null;
    }

    public void Dispose()
    {
        _interpreted.Dispose();
        _translated.Dispose();
    }
}
