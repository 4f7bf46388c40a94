using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Tests.Translate;

namespace Kvm.X86.Tests.Engine;

/// <summary>A software machine on <see cref="EngineRig"/>'s memory, with handlers for every vector that record what was pushed.</summary>
internal sealed unsafe class SoftRig : IDisposable
{
    /// <summary>Where the handlers' stubs are (sixteen bytes each), and where they leave vector, error code, RIP and CR2.</summary>
    public const ulong Stubs = 0x180000, Record = 0x1f0000;

    /// <summary>The port a program ends by writing to.</summary>
    public const byte EndPort = 0xf4;

    private readonly EngineRig _memory = new();
    private readonly EndDevice _end = new();

    /// <summary>Makes the machine.</summary>
    /// <param name="chips">What interrupts it.</param>
    /// <param name="translateAfter">Executions after which a block is translated; 0: everything is interpreted.</param>
    /// <param name="keepTranslations">Counts executions of translated code.</param>
    /// <param name="shadow">Whether page tables are shadowed.</param>
    public SoftRig(IInterruptSource? chips = null, int translateAfter = 0, bool keepTranslations = false, bool shadow = false)
    {
        _memory.Pio.Add(EndPort, 1, _end);
        Machine = new SoftMachine(_memory.Memory, _memory.Pio, _memory.Mmio, CpuidTable.CreateDefault(1))
        {
            ShadowPaging = shadow,
            CodeMemory = translateAfter > 0 ? () => TestCodeMemory.Create() : null,
            TranslateAfter = Math.Max(translateAfter, 1),
            KeepTranslations = keepTranslations,
        };
        Processor = Machine.AddProcessor(chips);
        _end.Processor = Processor;
        State = EngineRig.LongMode();
        State.Xcr0 = 3;
        WriteHandlers();
    }

    public EngineRig Memory => _memory;

    public SoftMachine Machine { get; }

    public SoftProcessor Processor { get; }

    public ArchitecturalState State { get; }

    /// <summary>What the last handler saw.</summary>
    public (ulong Vector, ulong Error, ulong Rip, ulong Cr2) Seen =>
        (_memory.Read64(Record), _memory.Read64(Record + 8), _memory.Read64(Record + 16), _memory.Read64(Record + 24));

    private void WriteHandlers()
    {
        for (int vector = 0; vector < 256; vector++)
        {
            ulong stub = Stubs + ((ulong)vector * 32);
            bool error = Vector.HasErrorCode(vector);
            var a = new Assembler(64);
            if (!error)
                a.push(-1);
            a.push(vector);
            a.jmp(Stubs + 0x4000);
            Put(a, stub);
            SetGate(vector, stub, 0);
        }

        var common = new Assembler(64);
        common.pop(AssemblerRegisters.__qword_ptr[Record]);
        common.pop(AssemblerRegisters.__qword_ptr[Record + 8]);
        common.pop(AssemblerRegisters.__qword_ptr[Record + 16]);
        common.mov(AssemblerRegisters.rax, AssemblerRegisters.cr2);
        common.mov(AssemblerRegisters.__qword_ptr[Record + 24], AssemblerRegisters.rax);
        common.@out(EndPort, AssemblerRegisters.al);
        common.hlt();
        Put(common, Stubs + 0x4000);
    }

    /// <summary>Writes a 64-bit interrupt gate.</summary>
    public void SetGate(int vector, ulong target, int ist, int dpl = 3, bool trap = false)
    {
        ulong low = (target & 0xffff) | (0x10UL << 16) | ((ulong)ist << 32) | ((trap ? 0x8fUL : 0x8eUL) << 40) | ((ulong)dpl << 45) | ((target >> 16 & 0xffff) << 48);
        _memory.Write64(EngineRig.Idt + ((ulong)vector * 16), low);
        _memory.Write64(EngineRig.Idt + ((ulong)vector * 16) + 8, target >> 32);
    }

    public void Put(Assembler a, ulong address)
    {
        var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), address);
        _memory.Memory.TryWrite(address, stream.ToArray()).Should().BeTrue();
    }

    /// <summary>Runs a program at <see cref="EngineRig.Code"/> until it (or a handler) writes to the end port.</summary>
    public SoftExit Run(Action<Assembler> write)
    {
        var a = new Assembler(64);
        write(a);
        Put(a, State.Rip);
        return Run();
    }

    /// <summary>Runs from <see cref="State"/>, and reads the state back.</summary>
    public SoftExit Run()
    {
        Processor.SetState(State);
        using var watchdog = new Timer(_ => Processor.Kick(), null, 30_000, Timeout.Infinite);
        var exit = Processor.Run();
        Processor.GetState(State);
        return exit;
    }

    /// <summary>The program came to its end by itself.</summary>
    public bool Ended => _end.Count > 0;

    public void Dispose()
    {
        Processor.Dispose();
        _memory.Dispose();
    }

    private sealed class EndDevice : Devices.Bus.IBusDevice
    {
        public SoftProcessor? Processor { get; set; }

        public int Count { get; private set; }

        public void Read(ulong offset, Span<byte> data) => data.Clear();

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            Count++;
            Processor!.Kick();
        }
    }
}
