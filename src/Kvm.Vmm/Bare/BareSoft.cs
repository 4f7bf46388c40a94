using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Vmm.Host;
using Kvm.Vmm.Vcpu;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Bare;

/// <summary>
/// A bare machine on the software processor: one thread, the vCPUs in turn, a nanosecond for each instruction, so that two runs are the
/// same run. There are no exits here; accesses, halts and kept MSRs are told where KVM would tell them.
/// </summary>
internal sealed class BareSoft : IBareEngine
{
    private const ulong MessageAddress = 0xfee0_0000;
    private const ulong Quantum = 64;
    private const ulong LongRun = 10_000;

    private readonly BareOptions _options;
    private readonly IBareBoard _board;
    private readonly ManualGuestClock _clock = new();
    private readonly ChipSet? _chips;
    private readonly SoftProcessor[] _processors;
    private readonly ArchitecturalState _state = new();
    private byte[]? _seen;
    private int _current;
    private bool _touched;
    private int _kicked;

    /// <summary>Makes the machine.</summary>
    public BareSoft(BareOptions options, IBareBoard board)
    {
        (_options, _board) = (options, board);
        var ports = new IoBus();
        var mmio = new IoBus();
        if (options.Chips)
        {
            _chips = new ChipSet(new ChipSetOptions { Clock = _clock, Memory = options.Memory, Processors = options.Cpus, Legacy = false });
            _chips.Register(ports, mmio); // the I/O APIC's page; without 8259s and 8254 there are no ports
        }

        // The I/O APIC is inside, as KVM's is; everything else is told.
        ports.Add(0, 0x10000, new Teller(this, board.Ports, port: true, 0));
        ulong start = options.Memory.Regions[0].Last + 1, behind = IoApic.DefaultBase + IoApic.WindowSize, end = 1UL << 40;
        mmio.Add(start, IoApic.DefaultBase - start, new Teller(this, board.Mmio, port: false, start));
        mmio.Add(behind, end - behind, new Teller(this, board.Mmio, port: false, behind));
        var machine = new SoftMachine(options.Memory, ports, mmio, MakeCpuid(options), HostCode.Instance)
        {
            KeepTranslations = options.Translate,
            CodeMemory = options.Translate ? () => CodeBuffer.TryCreate() : null,
            ShadowPaging = options.Shadow,
        };
        _processors = new SoftProcessor[options.Cpus];
        for (int i = 0; i < _processors.Length; i++)
            _processors[i] = machine.AddProcessor(Chips(i));
        for (int i = 0; i < _processors.Length && _chips is not null; i++)
            _chips.Processors[i].Target = _processors[i];
        _processors[0].GetState(_state);
        SoftBootState.Apply(options.Entry, _state);
        _processors[0].SetState(_state);
        if (options.TrackWrites)
            TakeWrittenPages();
    }

    public string Name => "soft";

    public IReadOnlyDictionary<string, long> Completions { get; } = new Dictionary<string, long>();

    /// <summary>Counts of shadow paging, or null without it.</summary>
    public ShadowStatistics? Shadow => _processors[0].Shadow;

    /// <summary>Instructions retired by all processors.</summary>
    public ulong Instructions => _processors.Aggregate(0UL, (sum, processor) => sum + processor.Instructions);

    /// <summary>The blocks translated to host code that ran most.</summary>
    public IReadOnlyList<TranslatedCode> Translations(int most) => _processors[0].ReadTranslations(most);

    public BareStop Run()
    {
        int idle = 0;
        while (true)
        {
            if (Interlocked.Exchange(ref _kicked, 0) != 0)
                return BareStop.Kicked;
            ulong turn = _options.Translate ? LongRun : 1;
            var stop = Turn(turn, out bool halted);
            if (stop is not null)
                return stop.Value;
            idle = halted ? idle + 1 : 0;
            if (halted || (_clock.Now % Quantum) == 0)
                _current = (_current + 1) % _processors.Length;
            if (idle >= _processors.Length)
            {
                idle = 0;
                if (!SkipToTimer())
                    return BareStop.Halted;
            }
        }
    }

    public bool Waits(int vcpu)
    {
        _processors[vcpu].GetState(_state);
        return _state.Activity != ActivityState.Running && (_chips is null || _chips.Processors[vcpu].Pending == InterruptEvents.None);
    }

    public BareStop Step(int vcpu)
    {
        _current = vcpu;
        for (int i = 0; i < 2; i++)
        {
            var stop = Turn(1, out bool halted);
            if (stop is not null)
                return stop.Value;
            // An INIT or an interrupt may have been all there was; the others go on then.
            if (!halted || Enumerable.Range(0, _processors.Length).Any(other => !Waits(other)))
                return BareStop.Stepped;
            if (!SkipToTimer())
                return BareStop.Halted;
        }

        return BareStop.Stepped;
    }

    public void Kick()
    {
        Volatile.Write(ref _kicked, 1);
        foreach (var processor in _processors)
            processor.Kick();
    }

    public void LookAtHalts()
    {
    }

    public void Save(int vcpu, ArchitecturalState state) => _processors[vcpu].GetState(state);

    public void Restore(int vcpu, ArchitecturalState state) => _processors[vcpu].SetState(state);

    public void Interrupt(byte vector) => _chips?.Msi.Send(MessageAddress, vector);

    /// <summary>By comparing memory with a copy: a processor in software has no log of its writes.</summary>
    public IReadOnlyList<int> TakeWrittenPages()
    {
        var size = (int)_options.Memory.Regions[0].Size;
        _options.Memory.TryReadOnlySlice(0, size, out var now);
        var pages = new List<int>();
        for (int page = 0; _seen is not null && page < size / GuestMemory.PageSize; page++)
        {
            if (!now.Slice(page * GuestMemory.PageSize, GuestMemory.PageSize).SequenceEqual(_seen.AsSpan(page * GuestMemory.PageSize, GuestMemory.PageSize)))
                pages.Add(page);
        }

        _seen = now.ToArray();
        return pages;
    }

    public void Dispose()
    {
        foreach (var processor in _processors)
            processor.Dispose();
    }

    /// <summary>Runs the current processor for some instructions, then lets timers and the board have their turn.</summary>
    private BareStop? Turn(ulong instructions, out bool halted)
    {
        var processor = _processors[_current];
        ulong before = processor.Instructions;
        var exit = instructions == 1 ? StepOne(processor) : processor.Run(instructions);
        _clock.Advance(Math.Max(processor.Instructions - before, 1));
        _chips?.Timers.Advance(_clock.Now);
        halted = exit == SoftExit.Halted;
        switch (exit)
        {
            case SoftExit.Shutdown:
                Tell(BareExitKind.TripleFault, null);
                return BareStop.TripleFault;
            case SoftExit.Unsupported:
                Tell(BareExitKind.Failed, processor.Failure);
                return BareStop.Failed;
            case SoftExit.Halted when _chips is null:
                Tell(BareExitKind.Halt, null);
                return BareStop.Halted;
        }

        if (!_touched)
            return null;
        _touched = false;
        return _board.Between(this, _current) ? BareStop.Ended : null;
    }

    /// <summary>One instruction; where there are shadow tables, what it did to them is told.</summary>
    private SoftExit StepOne(SoftProcessor processor)
    {
        if (processor.Shadow is not { } before)
            return processor.Step();
        processor.GetState(_state);
        ulong rip = _state.Rip;
        var exit = processor.Step();
        var now = processor.Shadow.Value;
        var change = new ShadowStatistics
        {
            Fills = now.Fills - before.Fills,
            WriteProtectHits = now.WriteProtectHits - before.WriteProtectHits,
            Syncs = now.Syncs - before.Syncs,
            Dropped = now.Dropped - before.Dropped,
        };
        if ((change.Fills | change.WriteProtectHits | change.Dropped) != 0)
            _board.ShadowChanged(rip, change);
        return exit;
    }

    private bool SkipToTimer()
    {
        if (_chips is null || _processors.All(processor => processor.IsStuck) || _chips.Timers.NextDeadline == TimerQueue.Never)
            return false;
        _clock.AdvanceTo(_chips.Timers.NextDeadline);
        _chips.Timers.Advance(_clock.Now);
        return true;
    }

    private void Tell(BareExitKind kind, string? text)
    {
        _processors[_current].GetState(_state);
        _board.Exited(new BareExit(kind, _current, _state.Rip, 0, 0, 0, 0) { Text = text });
    }

    private IInterruptSource? Chips(int index)
    {
        IInterruptSource? chips = _chips is null ? null : _chips.Processors[index];
        return _options.MsrWindow.Count == 0 ? chips : new MsrKeeper(this, chips);
    }

    private static CpuidTable MakeCpuid(BareOptions options)
    {
        var table = CpuidTable.CreateDefault(options.Cpus);
        foreach (var change in options.Cpuid)
            table.Set(change.Leaf, change.Subleaf, change.Of(table.Get(change.Leaf, change.Subleaf)));
        return table;
    }

    /// <summary>Makes an access on the board's bus and tells of it.</summary>
    private sealed class Teller(BareSoft machine, IoBus bus, bool port, ulong first) : IBusDevice
    {
        public void Read(ulong offset, Span<byte> data)
        {
            bus.Read(first + offset, data);
            Tell(port ? BareExitKind.PortRead : BareExitKind.MmioRead, offset, data);
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            bus.Write(first + offset, data);
            Tell(port ? BareExitKind.PortWrite : BareExitKind.MmioWrite, offset, data);
        }

        private void Tell(BareExitKind kind, ulong offset, ReadOnlySpan<byte> data)
        {
            ulong value = 0;
            for (int i = Math.Min(data.Length, 8) - 1; i >= 0; i--)
                value = value << 8 | data[i];
            machine._processors[machine._current].GetState(machine._state);
            machine._touched = true;
            machine._board.Exited(new BareExit(kind, machine._current, machine._state.Rip, first + offset, data.Length, 1, value));
            if (machine._options.Translate)
                machine._processors[machine._current].Kick();
        }
    }

    /// <summary>The chips, with the registers that the board keeps.</summary>
    private sealed class MsrKeeper(BareSoft machine, IInterruptSource? chips) : IInterruptSource
    {
        public InterruptEvents Pending => chips?.Pending ?? InterruptEvents.None;

        public bool IsBootstrapProcessor => chips?.IsBootstrapProcessor ?? true;

        public byte TaskPriorityClass
        {
            get => chips?.TaskPriorityClass ?? 0;
            set
            {
                if (chips is not null)
                    chips.TaskPriorityClass = value;
            }
        }

        public ulong ApicPage => chips?.ApicPage ?? ulong.MaxValue;

        public int AcknowledgeInterrupt() => chips?.AcknowledgeInterrupt() ?? -1;

        public bool TakeNmi() => chips?.TakeNmi() ?? false;

        public void MergeNmis() => chips?.MergeNmis();

        public bool TakeInit() => chips?.TakeInit() ?? false;

        public int TakeStartup() => chips?.TakeStartup() ?? -1;

        public void ReadApicPage(uint offset, Span<byte> data) => chips?.ReadApicPage(offset, data);

        public void WriteApicPage(uint offset, ReadOnlySpan<byte> data) => chips?.WriteApicPage(offset, data);

        public ulong ReadTsc() => chips?.ReadTsc() ?? machine._clock.Now;

        public bool TryReadMsr(uint msr, out ulong value)
        {
            if (!IsKept(msr))
            {
                value = 0;
                return chips is not null && chips.TryReadMsr(msr, out value);
            }

            bool good = machine._board.TryReadMsr(msr, out value);
            Tell(BareExitKind.MsrRead, msr, value, good);
            return good;
        }

        public bool TryWriteMsr(uint msr, ulong value)
        {
            if (!IsKept(msr))
                return chips is not null && chips.TryWriteMsr(msr, value);
            bool good = machine._board.TryWriteMsr(msr, value);
            Tell(BareExitKind.MsrWrite, msr, value, good);
            return good;
        }

        private bool IsKept(uint msr) => msr - machine._options.MsrWindow.First < machine._options.MsrWindow.Count;

        private void Tell(BareExitKind kind, uint msr, ulong value, bool good)
        {
            machine._touched = true;
            machine._processors[machine._current].GetState(machine._state);
            machine._board.Exited(new BareExit(kind, machine._current, machine._state.Rip, msr, 8, 1, value) { Text = good ? null : "#GP" });
        }
    }
}
