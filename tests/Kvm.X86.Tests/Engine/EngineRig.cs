using System.Runtime.InteropServices;
using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Tests.Engine;

/// <summary>
/// A processor in 64-bit mode with sixteen megabytes of memory, identity-mapped by large pages that user code may use too, a GDT
/// (0x10 code, 0x18 data, 0x23 user data, 0x2b user code, 0x30 TSS) and an empty IDT.
/// </summary>
internal sealed unsafe class EngineRig : IDisposable
{
    public const ulong Size = 16 << 20, Tables = 0x1000, Gdt = 0x8000, Idt = 0x9000, Tss = 0xa000, Code = 0x100000, Data = 0x200000, Stack = 0x300000;

    private readonly byte* _host;

    public EngineRig()
    {
        _host = (byte*)NativeMemory.AlignedAlloc((nuint)Size, 4096);
        new Span<byte>(_host, (int)Size).Clear();
        Memory = new GuestMemory([new GuestRegion(0, Size, (nint)_host)]);
        Context = new CpuContext(Memory, Pio, Mmio) { Cpuid = CpuidTable.CreateDefault(1), Xcr0Allowed = 7 };
        Runner = new StepRunner(Context);
        Cpu->Features = CpuFeatures.Bmi1 | CpuFeatures.Lzcnt | CpuFeatures.Movbe;
        WriteTables();
        Load(LongMode());
    }

    public GuestMemory Memory { get; }

    public IoBus Pio { get; } = new();

    public IoBus Mmio { get; } = new();

    public CpuContext Context { get; }

    public StepRunner Runner { get; }

    public Cpu* Cpu => Context.Cpu;

    public byte* Host => _host;

    /// <summary>The state the rig starts in.</summary>
    public static ArchitecturalState LongMode()
    {
        var s = new ArchitecturalState
        {
            Rip = Code,
            Cr0 = 0x80050033,
            Cr3 = Tables,
            Cr4 = 0x406a0 | (1 << 16),
            Efer = 0xd01,
            Xcr0 = 7,
            Gdtr = new DescriptorTable { Base = Gdt, Limit = 0x3f },
            Idtr = new DescriptorTable { Base = Idt, Limit = 0xfff },
        };
        s.Gpr[4] = Stack;
        s.Segments[Seg.Cs] = new SegmentRegister { Selector = 0x10, Limit = uint.MaxValue, Attributes = 0xa9b };
        foreach (int n in new[] { Seg.Ss, Seg.Ds, Seg.Es })
            s.Segments[n] = new SegmentRegister { Selector = 0x18, Limit = uint.MaxValue, Attributes = 0xc93 };
        s.Segments[Seg.Fs] = s.Segments[Seg.Gs] = new SegmentRegister { Attributes = SegmentRegister.UnusableBit };
        s.Tr = new SegmentRegister { Selector = 0x30, Base = Tss, Limit = 0x67, Attributes = 0x8b };
        s.Ldtr = new SegmentRegister { Attributes = SegmentRegister.UnusableBit };
        return s;
    }

    public void Load(ArchitecturalState state) => StateTransfer.Load(Context, state);

    public ArchitecturalState Save()
    {
        var state = new ArchitecturalState();
        StateTransfer.Save(Context, state);
        return state;
    }

    public void Write64(ulong address, ulong value) => *(ulong*)(_host + address) = value;

    public ulong Read64(ulong address) => *(ulong*)(_host + address);

    /// <summary>Writes a byte as a device would: past the processors.</summary>
    public void Poke(ulong address, byte value) => _host[address] = value;

    private void WriteTables()
    {
        const ulong All = 7;
        Write64(Tables, (Tables + 0x1000) | All);
        Write64(Tables + 0x1000, (Tables + 0x2000) | All);
        for (ulong n = 0; n < 512; n++)
            Write64(Tables + 0x2000 + (n * 8), (n << 21) | 0x80 | All);
        Write64(Gdt + 0x10, 0x00af9b000000ffff);
        Write64(Gdt + 0x18, 0x00cf93000000ffff);
        Write64(Gdt + 0x20, 0x00cff3000000ffff);
        Write64(Gdt + 0x28, 0x00affb000000ffff);
        Write64(Gdt + 0x30, 0x00008b0000000067 | (Tss << 16));
        Write64(Tss + 4, Stack - 0x10000); // RSP0
    }

    /// <summary>Puts code at <see cref="Code"/>.</summary>
    public void Assemble(Action<Assembler> write, int bitness = 64)
    {
        var a = new Assembler(bitness);
        write(a);
        var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), Code);
        stream.ToArray().CopyTo(new Span<byte>(_host + Code, 4096));
    }

    /// <summary>Executes one instruction; the vector of a fault, or −1.</summary>
    public int Step()
    {
        Cpu->FaultVector = -1;
        return Runner.Step() == HelperCall.Faulted ? Cpu->FaultVector : -1;
    }

    /// <summary>Executes instructions until RIP has reached an address or a fault came.</summary>
    public int StepTo(ulong rip, int most = 10000)
    {
        for (int n = 0; n < most && Cpu->Rip != rip; n++)
        {
            int vector = Step();
            if (vector >= 0)
                return vector;
        }

        return -1;
    }

    public void Dispose()
    {
        Runner.Dispose();
        Context.Dispose();
        NativeMemory.AlignedFree(_host);
    }
}
