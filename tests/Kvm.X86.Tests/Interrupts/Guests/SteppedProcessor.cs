using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Interrupts.Guests;

/// <summary>
/// A processor that executes one instruction at a time and keeps to the protocol of <see cref="IInterruptSource"/>: what
/// shows that real guest code and the chips understand each other, without the engine's loop.
/// </summary>
internal sealed class SteppedProcessor : IInterruptTarget, IDisposable
{
    private readonly CpuContext _context;
    private readonly StepRunner _runner;
    private readonly ProcessorChips _chips;
    private readonly Action? _notified;
    private int _attention = 1;

    public SteppedProcessor(GuestMemory memory, IoBus ports, IoBus mmio, ProcessorChips chips, Action? notified = null)
    {
        _chips = chips;
        _notified = notified;
        _context = new CpuContext(memory, ports, mmio) { Chips = chips, ApicId = chips.Apic.Id };
        _runner = new StepRunner(_context);
        chips.Target = this;
        Enter(0, 0, chips.IsBootstrapProcessor ? ActivityState.Running : ActivityState.WaitForSipi);
    }

    /// <summary>Instructions executed.</summary>
    public long Retired { get; private set; }

    public ActivityState Activity => (ActivityState)_context.State.Activity;

    public void Notify()
    {
        Volatile.Write(ref _attention, 1);
        _notified?.Invoke();
    }

    /// <summary>Real mode at CS:IP, everything else as after INIT (SDM vol. 3, table 9-1) but for a usable stack.</summary>
    public void Enter(ushort cs, ushort ip, ActivityState activity = ActivityState.Running)
    {
        var state = new ArchitecturalState { Rip = ip, Cr0 = 0x10, Activity = activity, Idtr = new DescriptorTable { Limit = 0x3ff } };
        for (int i = 0; i < 6; i++)
            state.Segments[i] = new SegmentRegister { Limit = 0xffff, Attributes = 0x93 };
        state.Segments[Seg.Cs] = new SegmentRegister { Base = (ulong)cs << 4, Selector = cs, Limit = 0xffff, Attributes = 0x9b };
        state.Gpr[4] = 0x7000 - (_context.ApicId * 0x400UL);
        StateTransfer.Load(_context, state);
    }

    /// <summary>Takes what can be taken and executes an instruction; false if there is nothing to do (halted, waiting).</summary>
    public bool Step()
    {
        ref var cpu = ref _context.State;
        bool shadow = cpu.InterruptShadow != 0;
        cpu.InterruptShadow = 0;
        if (Interlocked.Exchange(ref _attention, 0) != 0 || (cpu.Rflags & Bits.If) != 0)
            TakeEvents(ref cpu, shadow);
        if (Activity != ActivityState.Running)
            return false;

        nint result = _runner.Step();
        Retired++;
        if (result == HelperCall.Faulted)
        {
            bool hasError = cpu.FaultSource != (int)EventSource.Software && Kvm.X86.State.Vector.HasErrorCode(cpu.FaultVector) && (cpu.Cr0 & 1) != 0;
            Events.Deliver(ref cpu, _context, cpu.FaultVector, (EventSource)cpu.FaultSource, hasError, cpu.FaultError).Should().BeTrue("no test wants a triple fault");
        }

        return true;
    }

    private void TakeEvents(ref Cpu cpu, bool shadow)
    {
        var pending = _chips.Pending;
        if ((pending & InterruptEvents.Init) != 0 && _chips.TakeInit())
            Enter(0xf000, 0xfff0, _chips.IsBootstrapProcessor ? ActivityState.Running : ActivityState.WaitForSipi);
        if ((pending & InterruptEvents.Startup) != 0 && _chips.TakeStartup() is var page and >= 0 && Activity == ActivityState.WaitForSipi)
            Enter((ushort)(page << 8), 0);
        if (Activity is ActivityState.WaitForSipi or ActivityState.Shutdown)
            return;
        if ((pending & InterruptEvents.Nmi) != 0 && cpu.NmiMasked == 0 && _chips.TakeNmi())
        {
            cpu.NmiMasked = 1;
            Deliver(ref cpu, 2);
        }
        else if ((pending & InterruptEvents.Maskable) != 0 && !shadow && (cpu.Rflags & Bits.If) != 0 && _chips.AcknowledgeInterrupt() is var vector and >= 0)
        {
            Deliver(ref cpu, vector);
        }
    }

    private void Deliver(ref Cpu cpu, int vector)
    {
        cpu.Activity = (int)ActivityState.Running;
        Events.Deliver(ref cpu, _context, vector, EventSource.External, false, 0).Should().BeTrue();
    }

    public void Dispose()
    {
        _runner.Dispose();
        _context.Dispose();
    }

    /// <summary>Assembles 16-bit code for an address and puts it there.</summary>
    public static void Assemble(GuestMemory memory, ulong address, Action<Assembler> code)
    {
        var assembler = new Assembler(16);
        code(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        memory.TryWrite(address, stream.ToArray()).Should().BeTrue();
    }

    /// <summary>Points a real-mode vector at segment 0.</summary>
    public static void SetVector(GuestMemory memory, int vector, ushort offset) =>
        memory.TryWrite((ulong)vector * 4, (uint)offset).Should().BeTrue();

    /// <summary>OUT of a constant to a port below 256.</summary>
    public static void Out(Assembler a, byte port, byte value)
    {
        a.mov(al, value);
        a.@out(port, al);
    }

    /// <summary>WRMSR of a constant.</summary>
    public static void Wrmsr(Assembler a, uint msr, ulong value)
    {
        a.mov(ecx, msr);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }
}
