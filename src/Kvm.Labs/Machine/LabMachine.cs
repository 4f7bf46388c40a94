using Kvm.Devices.Memory;
using Kvm.Labs.Assembling;
using Kvm.Vmm.Bare;
using Kvm.X86.State;

namespace Kvm.Labs.Machine;

/// <summary>A program on its machine, run to its end or step by step. Belongs to one thread.</summary>
internal sealed class LabMachine : IDisposable
{
    private static readonly TimeSpan _haltPeriod = TimeSpan.FromMilliseconds(100);

    private readonly AlignedBuffer _buffer = new(LabBoard.MemorySize);
    private readonly AssembledProgram _program;
    private readonly LabSetup _setup;
    private readonly IBareEngine _engine;
    private readonly Lock _watching = new();
    private BareStop _last = BareStop.Stepped;
    private bool _running;
    private bool _timedOut;
    private bool _interrupted;

    /// <summary>Loads a program.</summary>
    /// <param name="program">The program; it has to lie in memory.</param>
    /// <param name="setup">The lab's machine.</param>
    /// <param name="engine"><c>kvm</c> or <c>soft</c>.</param>
    /// <exception cref="Kvm.Vmm.VmmException">There is no KVM for us.</exception>
    public LabMachine(AssembledProgram program, LabSetup setup, string engine)
    {
        (_program, _setup) = (program, setup);
        try
        {
            var memory = new GuestMemory([new GuestRegion(0, LabBoard.MemorySize, _buffer.Buffer.Address)]);
            var entry = BareEntry.Prepare(memory, program.Bits, program.Origin);
            memory.TryWrite(program.Origin, program.Image);
            Board = new LabBoard(memory)
            {
                PlaceOf = rip => program.At(rip) is { } listed ? $"line {listed.Line} ({program.Lines[listed.Line - 1].Split(';')[0].Trim()})" : $"0x{rip:x}",
            };
            setup.Devices?.Invoke(Board);
            setup.Program?.Invoke(Board, program);
            var options = new BareOptions
            {
                Memory = memory,
                Entry = entry,
                Cpus = setup.Cpus,
                Chips = setup.Chips,
                Cpuid = setup.Cpuid,
                MsrWindow = setup.MsrWindow,
                TrackWrites = setup.TrackWrites,
                Translate = setup.Translate,
                Shadow = setup.Shadow,
            };
            _engine = BareEngines.Create(engine, options, Board);
        }
        catch
        {
            _buffer.Dispose();
            throw;
        }
    }

    /// <summary>What is around the processor.</summary>
    public LabBoard Board { get; }

    /// <summary>The vCPU whose step is next: they take turns, and one that waits to be started or woken is passed over.</summary>
    public int Turn { get; private set; }

    /// <summary>How many vCPUs there are.</summary>
    public int Cpus => _setup.Cpus;

    /// <summary>True when nothing more can happen.</summary>
    public bool HasEnded => _last is not (BareStop.Stepped or BareStop.Kicked);

    /// <summary>What keeps a program from this machine, or null.</summary>
    public static SourceError? Misfit(AssembledProgram program)
    {
        if (program.Image.Length == 0)
            return new SourceError(1, 1, "there is no instruction in the source");
        ulong end = program.Origin + (ulong)program.Image.Length;
        if (end > LabBoard.MemorySize)
            return new SourceError(1, 1, $"the program reaches to 0x{end:x}; the machine has memory to 0x{LabBoard.MemorySize:x}");
        return program.Bits == 16 && program.Origin > 0xffff
            ? new SourceError(1, 1, $"a program that starts in 16-bit mode begins below 0x10000, not at 0x{program.Origin:x}")
            : null;
    }

    /// <summary>Runs to the end, or until the time is up or somebody cancels.</summary>
    public LabOutcome Run(TimeSpan timeout, CancellationToken cancel = default)
    {
        using var registration = cancel.Register(() =>
        {
            Volatile.Write(ref _interrupted, true);
            Kick();
        });
        Watched(timeout, () =>
        {
            // A kick that nobody asked for is nobody's end: the run goes on.
            do
                _last = _engine.Run();
            while (_last == BareStop.Kicked && !Volatile.Read(ref _timedOut) && !Volatile.Read(ref _interrupted));
        });
        return Outcome();
    }

    /// <summary>Runs one instruction of <see cref="Turn"/>; nothing happens at the end.</summary>
    public void Step(TimeSpan timeout)
    {
        if (HasEnded)
            return;
        Watched(timeout, () => _last = _engine.Step(Turn));
        if (!HasEnded)
            Turn = Next();
        // The board is asked at exits only; what it decided in this step counts now.
        if (_last == BareStop.Stepped && Board.EndValue is not null)
            _last = BareStop.Ended;
    }

    /// <summary>What there is to see now.</summary>
    public LabOutcome Outcome()
    {
        var processors = new ArchitecturalState[_setup.Cpus];
        for (int i = 0; i < processors.Length; i++)
            _engine.Save(i, processors[i] = new ArchitecturalState());
        var soft = _engine as BareSoft;
        return new LabOutcome
        {
            Program = _program,
            Engine = _engine.Name,
            End = Why(),
            EndValue = Board.EndValue,
            Console = Board.ConsoleText,
            Exits = [.. Board.Exits],
            ExitsDropped = Board.ExitsDropped,
            Notes = [.. Board.Notes],
            Processors = processors,
            Memory = _buffer.Buffer.Span.ToArray(),
            Completions = _engine.Completions,
            Shadow = soft?.Shadow,
            Instructions = soft?.Instructions,
            Translations = soft?.Translations(50) ?? [],
        };
    }

    /// <summary>A processor's registers, without a copy of everything else.</summary>
    public void Read(int vcpu, ArchitecturalState state) => _engine.Save(vcpu, state);

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        Board.Dispose();
        _buffer.Dispose();
    }

    /// <summary>Does something with somebody looking at the clock; when it returns, nobody touches the engine any more.</summary>
    private void Watched(TimeSpan timeout, Action work)
    {
        long deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        lock (_watching)
        {
            _running = true;
            // Whoever cancelled before the engine could be kicked is heard now.
            if (Volatile.Read(ref _interrupted))
                _engine.Kick();
        }

        using var watch = new Timer(_ => Watch(deadline), null, _haltPeriod, _haltPeriod);
        work();
        lock (_watching)
            _running = false;
    }

    private int Next()
    {
        for (int i = 1; i <= Cpus; i++)
        {
            int vcpu = (Turn + i) % Cpus;
            if (Cpus == 1 || !_engine.Waits(vcpu))
                return vcpu;
        }

        // All wait: for a timer, or for ever, which the next step says.
        return 0;
    }

    private void Watch(long deadline)
    {
        lock (_watching)
        {
            if (!_running)
                return;
            if (Environment.TickCount64 < deadline)
            {
                _engine.LookAtHalts();
                return;
            }

            Volatile.Write(ref _timedOut, true);
            _engine.Kick();
        }
    }

    private void Kick()
    {
        lock (_watching)
        {
            if (_running)
                _engine.Kick();
        }
    }

    private LabEnd Why() => _last switch
    {
        BareStop.Ended => LabEnd.Exit,
        BareStop.Halted => LabEnd.Halt,
        BareStop.TripleFault => LabEnd.TripleFault,
        BareStop.Failed => LabEnd.Failed,
        BareStop.Kicked when _interrupted => LabEnd.Interrupted,
        BareStop.Kicked => LabEnd.Timeout,
        _ => LabEnd.Running,
    };
}
