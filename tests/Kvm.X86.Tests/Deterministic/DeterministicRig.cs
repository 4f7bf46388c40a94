using System.Security.Cryptography;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Deterministic;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Tests.Interrupts;

namespace Kvm.X86.Tests.Deterministic;

/// <summary>A machine with a little memory and an end port, ready to run a <see cref="GuestCode"/>.</summary>
internal sealed class DeterministicRig : IBusDevice, IDisposable
{
    private const int MemorySize = 0x2_0000;
    private readonly TestMemory _memory = new(MemorySize);

    public DeterministicRig(Action<GuestMemory> guest, int processors = 1, ulong quantum = 0, ulong seed = 0)
    {
        Ports.Add(GuestCode.EndPort, 1, this);
        var mmio = new IoBus();
        Chips = new ChipSet(new ChipSetOptions { Clock = Clock, Memory = _memory.Memory, Processors = processors });
        Chips.Register(Ports, mmio);
        var machine = new SoftMachine(_memory.Memory, Ports, mmio, CpuidTable.CreateDefault(processors)) { Deterministic = seed };
        var all = new List<SoftProcessor>();
        for (int i = 0; i < processors; i++)
        {
            all.Add(machine.AddProcessor(Chips.Processors[i]));
            Chips.Processors[i].Target = all[i];
        }

        Processors = all;
        Runner = new DeterministicRunner(all, Chips.Timers, quantum);
        var state = new ArchitecturalState();
        all[0].GetState(state);
        state.Segments[Seg.Cs] = new SegmentRegister { Limit = 0xffff, Attributes = 0x9b };
        state.Rip = GuestCode.Main;
        state.Gpr[4] = 0x7000;
        all[0].SetState(state);
        guest(_memory.Memory);
    }

    public IoBus Ports { get; } = new();

    public InstructionClock Clock { get; } = new();

    public ChipSet Chips { get; }

    public IReadOnlyList<SoftProcessor> Processors { get; }

    public DeterministicRunner Runner { get; }

    public TestMemory Memory => _memory;

    /// <summary>Guests that said they are done.</summary>
    public int Ended { get; private set; }

    public ushort Counter => _memory.Read<ushort>(GuestCode.Counter);

    public ushort Other => _memory.Read<ushort>(GuestCode.Other);

    /// <summary>All that a second run must have in common with this one.</summary>
    public (ulong Instructions, ulong Now, string Memory) Outcome
    {
        get
        {
            _memory.Memory.TryReadOnlySlice(0, MemorySize, out var all).Should().BeTrue();
            return (Runner.Instructions, Clock.Now, Convert.ToHexString(SHA256.HashData(all)));
        }
    }

    /// <summary>Runs until the guest is done.</summary>
    public DeterministicRig Finish()
    {
        using var watchdog = new Timer(_ => Runner.Kick(), null, 60_000, Timeout.Infinite);
        Runner.Run(out int processor).Should().Be(SoftExit.Kicked);
        processor.Should().BeGreaterThanOrEqualTo(-1);
        Ended.Should().Be(1);
        return this;
    }

    public void Read(ulong offset, Span<byte> data) => data.Clear();

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        Ended++;
        Runner.Kick();
    }

    public void Dispose()
    {
        foreach (var processor in Processors)
            processor.Dispose();
        _memory.Dispose();
    }
}
