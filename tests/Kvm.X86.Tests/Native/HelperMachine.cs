using System.Runtime.InteropServices;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Tests.Native;

/// <summary>A processor without paging that runs one helper, and takes and gives its state in the layout of <see cref="NativeRunner"/>.</summary>
internal sealed unsafe class HelperMachine : IDisposable
{
    /// <summary>Where its 64 KiB of memory begin; the operand buffer is the page at this address.</summary>
    public const ulong MemoryBase = 0x10000;

    public const int MemorySize = 0x10000;

    private readonly nint _host = (nint)NativeMemory.AlignedAlloc(MemorySize, 4096);
    private readonly CpuContext _context;
    private readonly StepRunner _runner;

    public HelperMachine()
    {
        new Span<byte>((void*)_host, MemorySize).Clear();
        GuestMemory memory = new([new GuestRegion(MemoryBase, MemorySize, _host)]);
        _context = new CpuContext(memory, new IoBus(), new IoBus());
        _runner = new StepRunner(_context);
        Reset();
    }

    public Cpu* Cpu => _context.Cpu;

    public CpuContext Context => _context;

    public byte* Host => (byte*)_host;

    /// <summary>MXCSR_MASK of the processor compared with.</summary>
    public uint MxcsrMask { get; set; } = 0xFFFF;

    /// <summary>Long mode with everything enabled that user space expects, exceptions recorded as none.</summary>
    public void Reset()
    {
        Cpu->Cr0 = Bits.Cr0Pe | Bits.Cr0Mp | Bits.Cr0Et | Bits.Cr0Ne;
        Cpu->Cr4 = Bits.Cr4OsFxsr | Bits.Cr4OsXmmExcpt | Bits.Cr4OsXsave;
        Cpu->Efer = Bits.EferLma | Bits.EferLme;
        Cpu->Xcr0 = 7;
        Cpu->Xss = 0;
        Cpu->Cpl = 0;
        Cpu->Segments[Seg.Cs].Attributes = 0x29b;
        Cpu->Segments[Seg.Ss].Attributes = 0xc93;
        Cpu->FaultVector = -1;
        Cpu->Mxcsr = 0x1F80;
        Cpu->PassThroughState = 0;
        LegacyArea.InitializeX87(Cpu);
        new Span<byte>((void*)Cpu->Extended, ArchitecturalState.ExtendedSize).Clear();
        Modes.Update(ref *Cpu, _context);
    }

    /// <summary>Real-address mode with all segments at <see cref="MemoryBase"/>: code runs at offset 8000h.</summary>
    public void EnterRealMode()
    {
        Cpu->Cr0 &= ~Bits.Cr0Pe;
        Cpu->Efer = 0;
        for (int i = 0; i < 6; i++)
            Cpu->Segments[i] = new SegmentRegister { Base = MemoryBase, Limit = 0xFFFF, Attributes = (ushort)(i == Seg.Cs ? 0x9B : 0x93) };
        Modes.Update(ref *Cpu, _context);
    }

    /// <summary>Turns paging on: the memory is mapped to itself but for one page, given by its number from <see cref="MemoryBase"/>.</summary>
    public void EnablePaging(int absent)
    {
        const int tables = 0xA000;
        const ulong present = 3;
        new Span<byte>(Host + tables, 0x4000).Clear();
        ulong physical = MemoryBase + tables;
        *(ulong*)(Host + tables) = (physical + 0x1000) | present;
        *(ulong*)(Host + tables + 0x1000) = (physical + 0x2000) | present;
        *(ulong*)(Host + tables + 0x2000) = (physical + 0x3000) | present;
        for (int i = 0; i < MemorySize / 4096; i++)
        {
            ulong page = MemoryBase + ((ulong)i * 4096);
            ((ulong*)(Host + tables + 0x3000))[page >> 12] = i == absent ? 0 : page | present;
        }
        Cpu->Cr3 = physical;
        Cpu->Cr4 |= Bits.Cr4Pae;
        Cpu->Cr0 |= Bits.Cr0Pg;
        _context.FlushTlb(true);
        Modes.Update(ref *Cpu, _context);
    }

    /// <summary>Takes registers, flags and extended state from an input block.</summary>
    public void Load(byte* block)
    {
        byte* area = block + NativeRunner.ExtendedIn;
        Buffer.MemoryCopy(area, (void*)Cpu->Extended, 4096, 832);
        *(uint*)(Cpu->Extended + 28) = MxcsrMask;
        LegacyArea.LoadX87(Cpu, area, wide: true);
        Cpu->Mxcsr = *(uint*)(area + 24);
        for (int i = 0; i < 16; i++)
            Cpu->Gpr[i] = ((ulong*)(block + NativeRunner.GprIn))[i];
        Cpu->FlagKind = FlagKind.Explicit;
        Cpu->Rflags = (uint)*(ulong*)(block + NativeRunner.FlagsIn);
        Cpu->FaultVector = -1;
    }

    /// <summary>Decodes and executes one instruction; RBX, the pointer of its memory operand if any, becomes <paramref name="address"/>.</summary>
    public bool Run(ReadOnlySpan<byte> instruction, ulong address)
    {
        const int codeOffset = 0x8000;
        instruction.CopyTo(new Span<byte>(Host + codeOffset, 16));
        Cpu->Gpr[3] = address;
        Cpu->Rip = (Cpu->Cr0 & Bits.Cr0Pe) != 0 ? MemoryBase + codeOffset : codeOffset;
        Cpu->FaultVector = -1;
        nint result = _runner.Step();
        if (_runner.Builder.LastUnknown)
            throw new InvalidOperationException($"no helper for {_runner.Builder.Last.Code}");
        return result != HelperCall.Faulted;
    }

    /// <summary>The status flags, whichever way they are kept.</summary>
    public uint Flags => Execute.Flags.Status(Cpu);

    public void Dispose()
    {
        _runner.Dispose();
        _context.Dispose();
        NativeMemory.AlignedFree((void*)_host);
    }
}
