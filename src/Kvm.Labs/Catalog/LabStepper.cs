using System.Text.Json;
using Iced.Intel;
using Kvm.Labs.Assembling;
using Kvm.Labs.Machine;
using Kvm.Vmm;
using Kvm.Vmm.Debugging;
using Kvm.X86.State;

namespace Kvm.Labs.Catalog;

/// <summary>A line of the source around the instruction in hand.</summary>
/// <param name="Line">Its number.</param>
/// <param name="Text">The line.</param>
/// <param name="Current">True for the line of the next instruction.</param>
public readonly record struct SourceLine(int Line, string Text, bool Current);

/// <summary>A register between two steps.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">Its value.</param>
/// <param name="Changed">True if the last step changed it.</param>
public readonly record struct SeenRegister(string Name, ulong Value, bool Changed);

/// <summary>Some bytes of memory between two steps.</summary>
/// <param name="Name">What they are.</param>
/// <param name="Address">Where they begin.</param>
/// <param name="Bytes">The bytes.</param>
public sealed record SeenMemory(string Name, ulong Address, byte[] Bytes);

/// <summary>What there is to see between two steps.</summary>
public sealed record StepView
{
    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    public required string Engine { get; init; }

    /// <summary>Steps made.</summary>
    public required long Steps { get; init; }

    /// <summary>The vCPU whose step is next, and of which registers and instruction are.</summary>
    public required int Vcpu { get; init; }

    /// <summary>How many vCPUs there are.</summary>
    public required int Vcpus { get; init; }

    /// <summary>Linear address of the next instruction.</summary>
    public required ulong Address { get; init; }

    /// <summary>The next instruction.</summary>
    public required string Instruction { get; init; }

    /// <summary>The source around it; empty where the processor is outside of the program.</summary>
    public required IReadOnlyList<SourceLine> Source { get; init; }

    /// <summary>The registers.</summary>
    public required IReadOnlyList<SeenRegister> Registers { get; init; }

    /// <summary>Parts of memory.</summary>
    public required IReadOnlyList<SeenMemory> Memory { get; init; }

    /// <summary>Exits so far.</summary>
    public required int Exits { get; init; }

    /// <summary>The last exit, if the last step made it; else null.</summary>
    public ExitLine? LastExit { get; init; }

    /// <summary>The last exits, oldest first, a hundred at most.</summary>
    public required IReadOnlyList<ExitLine> Recent { get; init; }

    /// <summary>What was printed so far.</summary>
    public required string Console { get; init; }

    /// <summary>How the run ended, behind "the program"; null while it has not.</summary>
    public string? End { get; init; }
}

/// <summary>A lab's program, step by step. Belongs to one thread.</summary>
public sealed class LabStepper : IDisposable
{
    private const int Around = 5;
    private const int MostContinued = 1_000_000;
    private const int MostRecent = 100;

    private readonly AssembledProgram _program;
    private readonly LabPlan _plan;
    private readonly LabOptions _options;
    private readonly string _engine;
    private readonly ArchitecturalState _state = new();
    private LabMachine _machine;
    private IReadOnlyList<(string Name, ulong Value)>[] _before;
    private int _exitsBefore;

    /// <summary>Loads a source.</summary>
    /// <exception cref="VmmException">The source has mistakes, the engine is not there, or the lab has no program (KVM0042).</exception>
    public LabStepper(Lab lab, string source, LabOptions options)
    {
        ArgumentNullException.ThrowIfNull(lab);
        ArgumentNullException.ThrowIfNull(options);
        if (lab is not ProgramLab { Plans: [var plan, ..] })
            throw new VmmException(LabErrors.WrongEngine, $"lab {lab.Number} has no program to step through: kvmsharp lab run {lab.Number}");
        (_plan, _options) = (plan, options);
        _program = ProgramLab.Load(source, options);
        _engine = ProgramLab.EngineFor(plan, options);
        _machine = new LabMachine(_program, plan.Setup, _engine);
        _before = Nothing();
    }

    /// <summary>Steps made.</summary>
    public long Steps { get; private set; }

    /// <summary>True when nothing more can happen.</summary>
    public bool HasEnded => _machine.HasEnded;

    /// <summary>True where steps can be undone: the software engine does the same again, to the instruction.</summary>
    public bool CanGoBack => _engine == "soft";

    /// <summary>The lines of the source.</summary>
    public IReadOnlyList<string> Source => _program.Lines;

    /// <summary>One instruction.</summary>
    public void Step()
    {
        if (HasEnded)
            return;
        Remember(_machine.Turn);
        _machine.Step(_options.Timeout);
        Steps++;
    }

    /// <summary>To behind the next exit, or to the end; at most a million instructions.</summary>
    public void Continue(CancellationToken cancel = default)
    {
        int exits = _machine.Board.Exits.Count;
        StepWhile(() => _machine.Board.Exits.Count == exits, cancel);
    }

    /// <summary>To the end, step by step, so that each can be undone; at most a million instructions, and as long as a run may take.</summary>
    public void RunToEnd(CancellationToken cancel = default) => StepWhile(() => true, cancel);

    /// <summary>To the start again.</summary>
    public void Restart()
    {
        Replace();
    }

    /// <summary>Undoes one step: the program is run again from its start, one instruction less. Nothing happens at the start, or on KVM.</summary>
    public void Back()
    {
        if (Steps == 0 || !CanGoBack)
            return;
        long target = Steps - 1;
        for (Replace(); Steps < target; Steps++)
        {
            // What is marked as changed is what each vCPU's last step changed.
            if (target - Steps <= _machine.Cpus)
                Remember(_machine.Turn);
            _machine.Step(_options.Timeout);
        }
    }

    /// <summary>What there is to see.</summary>
    public StepView View()
    {
        var outcome = _machine.Outcome();
        int vcpu = _machine.Turn;
        _machine.Read(vcpu, _state);
        var before = _before[vcpu];
        ulong address = _state.Segments[1].Base + _state.Rip;
        var registers = OutcomeText.Registers(_state);
        int exits = outcome.Exits.Count;
        return new StepView
        {
            Engine = outcome.Engine,
            Steps = Steps,
            Vcpu = vcpu,
            Vcpus = _machine.Cpus,
            Address = address,
            Instruction = Disassemble(outcome, address),
            Source = SourceAround(address),
            Registers = [.. registers.Select((register, i) => new SeenRegister(register.Name, register.Value, i < before.Count && before[i].Value != register.Value))],
            Memory = [Window(outcome, "stack", (_state.Segments[2].Base + _state.Gpr[4]) & ~1UL, 64), .. Data(outcome)],
            Exits = exits,
            Recent = [.. Enumerable.Range(Math.Max(0, exits - MostRecent), Math.Min(exits, MostRecent)).Select(i => OutcomeText.Line(outcome, outcome.Exits[i], i))],
            LastExit = exits > _exitsBefore ? OutcomeText.Line(outcome, outcome.Exits[^1], exits - 1) : null,
            Console = outcome.Console,
            End = HasEnded ? Checks.Describe(outcome) : null,
        };
    }

    /// <summary>Bytes of memory; fewer than asked for where it ends, none outside.</summary>
    public byte[] ReadMemory(ulong address, int length) => Window(_machine.Outcome(), "", address, length).Bytes;

    /// <summary>Writes the walk of a linear address through the program's page tables (<see cref="GuestPaging.WriteWalk"/>).</summary>
    public void WriteWalk(Utf8JsonWriter json, ulong address)
    {
        _machine.Read(_machine.Turn, _state);
        GuestPaging.WriteWalk(json, _machine.Board.Memory, _state, address);
    }

    /// <inheritdoc/>
    public void Dispose() => _machine.Dispose();

    private void StepWhile(Func<bool> goesOn, CancellationToken cancel)
    {
        for (int vcpu = 0; vcpu < _machine.Cpus; vcpu++)
            Remember(vcpu);
        long deadline = Environment.TickCount64 + (long)_options.Timeout.TotalMilliseconds;
        for (int i = 0; i < MostContinued && !HasEnded && goesOn() && !cancel.IsCancellationRequested && Environment.TickCount64 < deadline; i++)
        {
            _machine.Step(_options.Timeout);
            Steps++;
        }
    }

    /// <summary>A machine that has not begun takes the place of the one there is.</summary>
    private void Replace()
    {
        var again = new LabMachine(_program, _plan.Setup, _engine);
        _machine.Dispose();
        (_machine, Steps) = (again, 0);
        (_before, _exitsBefore) = (Nothing(), 0);
    }

    private IReadOnlyList<(string Name, ulong Value)>[] Nothing() => [.. Enumerable.Repeat<IReadOnlyList<(string, ulong)>>([], _machine.Cpus)];

    private void Remember(int vcpu)
    {
        _machine.Read(vcpu, _state);
        _before[vcpu] = OutcomeText.Registers(_state);
        _exitsBefore = _machine.Board.Exits.Count;
    }

    private List<SourceLine> SourceAround(ulong address)
    {
        var lines = new List<SourceLine>();
        if (_program.At(address) is not { } listed)
            return lines;
        for (int line = Math.Max(1, listed.Line - Around); line <= Math.Min(_program.Lines.Count, listed.Line + Around); line++)
            lines.Add(new SourceLine(line, _program.Lines[line - 1].TrimEnd(), line == listed.Line));
        return lines;
    }

    private string Disassemble(LabOutcome outcome, ulong address)
    {
        if (address >= (ulong)outcome.Memory.Length)
            return "outside memory";
        int length = (int)Math.Min(15, (ulong)outcome.Memory.Length - address);
        var cs = _state.Segments[1];
        var decoder = Decoder.Create(cs.IsLong ? 64 : cs.IsBig ? 32 : 16, outcome.Memory.AsSpan((int)address, length).ToArray());
        decoder.IP = _state.Rip;
        var output = new StringOutput();
        new NasmFormatter(new FormatterOptions { BranchLeadingZeros = false }).Format(decoder.Decode(), output);
        return output.ToStringAndReset();
    }

    /// <summary>The program's first data: what most labs write to.</summary>
    private IEnumerable<SeenMemory> Data(LabOutcome outcome)
    {
        foreach (var listed in _program.Listing)
        {
            if (listed.Bits != 0)
                continue;
            string name = _program.Symbols.FirstOrDefault(symbol => symbol.Value == listed.Address).Key ?? "data";
            yield return Window(outcome, name, listed.Address, 64);
            yield break;
        }
    }

    private static SeenMemory Window(LabOutcome outcome, string name, ulong address, int length)
    {
        if (address >= (ulong)outcome.Memory.Length)
            return new SeenMemory(name, address, []);
        return new SeenMemory(name, address, outcome.Memory.AsSpan((int)address, (int)Math.Min((ulong)length, (ulong)outcome.Memory.Length - address)).ToArray());
    }
}
