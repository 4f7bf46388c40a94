using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Execute;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>How a step ended.</summary>
public enum StepKind
{
    /// <summary>Executed; the state is the one after it.</summary>
    Done,

    /// <summary>An exception is to be delivered by the caller. For faults RIP is at the instruction, for traps behind it.</summary>
    Exception,

    /// <summary>Not known to this engine; nothing has changed. See <see cref="InstructionStepper.Instruction"/>.</summary>
    Unsupported,
}

/// <summary>The outcome of <see cref="InstructionStepper.Step"/>.</summary>
/// <param name="Kind">Which of the three.</param>
/// <param name="Vector">The exception's vector.</param>
/// <param name="HasErrorCode">Whether it pushes an error code.</param>
/// <param name="ErrorCode">The error code.</param>
/// <param name="Address">#PF: the linear address, which the caller makes CR2. #DB: bits for DR6.</param>
/// <param name="IsSoftware">INT n, INT3 or INTO: delivery checks the gate's privilege, and RIP is behind the instruction.</param>
public readonly record struct StepResult(StepKind Kind, int Vector, bool HasErrorCode, uint ErrorCode, ulong Address, bool IsSoftware);

/// <summary>
/// Executes one instruction of a processor whose state another engine holds: completion of what KVM gives up on. Page walks set
/// accessed and dirty bits, rights are checked as by the processor, locked operations are atomic on guest memory.
/// </summary>
/// <remarks>One per vCPU, used by its thread. Allocates nothing per step.</remarks>
public sealed class InstructionStepper : IDisposable
{
    /// <summary>Passes of one repeated string instruction in a step, at most; the rest is for the next step.</summary>
    private const int MostPasses = 1024;

    private readonly CpuContext _context;
    private readonly StepRunner _runner;

    /// <summary>Prepares a stepper.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="pio">Ports, for IN and OUT.</param>
    /// <param name="mmio">Devices at memory addresses.</param>
    /// <param name="hostCode">Sixteen-byte compare-exchange; null where no second processor shares the memory.</param>
    /// <param name="extended">Layout of the host's XSAVE components (CPUID leaf 0DH), which pass through; null for x87, SSE and AVX only.</param>
    /// <param name="readTsc">The guest's time-stamp counter, for RDTSCP; null for the host's clock.</param>
    public InstructionStepper(GuestMemory memory, IoBus pio, IoBus mmio, IHostCode? hostCode = null, XsaveLayout? extended = null, Func<ulong>? readTsc = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pio);
        ArgumentNullException.ThrowIfNull(mmio);
        _context = new CpuContext(memory, pio, mmio) { HostCode = hostCode, TscSource = readTsc, Xcr0Allowed = extended?.Known ?? 7 };
        if (extended != null)
            _context.Xsave = extended;
        _context.State.Features = CpuFeatures.Bmi1 | CpuFeatures.Lzcnt | CpuFeatures.Movbe;
        _runner = new StepRunner(_context);
    }

    /// <summary>Width of physical addresses (CPUID 80000008H), for reserved bits of page tables: 36 to 52.</summary>
    public int PhysicalAddressBits
    {
        get => _context.State.PhysicalBits;
        set => _context.State.PhysicalBits = Math.Clamp(value, 36, 52);
    }

    /// <summary>The guest's CPUID, for an instruction that asks; null gives zeros.</summary>
    public CpuidTable? Cpuid
    {
        get => _context.Cpuid;
        set => _context.Cpuid = value;
    }

    /// <summary>The instruction stepped last, with IP counted from its page.</summary>
    public ref readonly Instruction Instruction => ref _runner.Builder.Last;

    /// <summary>Its bytes. Valid until the next step.</summary>
    public ReadOnlySpan<byte> Bytes => _runner.Bytes;

    /// <summary>Executes the instruction at <see cref="ArchitecturalState.Rip"/> and changes <paramref name="state"/> accordingly.</summary>
    public StepResult Step(ArchitecturalState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        StateTransfer.Load(_context, state);
        ref var cpu = ref _context.State;
        ulong rip = cpu.Rip;
        cpu.Left = int.MaxValue; // iterations are not handed out here
        nint result = _runner.Step();
        for (int pass = 1; pass < MostPasses && result == HelperCall.Continue && cpu.Rip == rip && Instruction.IsStringInstruction && Repeats; pass++)
            result = _runner.Step();
        if (result == HelperCall.Faulted && (cpu.FaultVector == Fault.UnsupportedVector || (cpu.FaultVector == Vector.InvalidOpcode && _runner.Builder.LastUnknown)))
            return new StepResult(StepKind.Unsupported, 0, false, 0, 0, false);
        cpu.Rflags &= ~Bits.Rf;
        StateTransfer.Save(_context, state);
        if (result != HelperCall.Faulted)
            return default;
        bool software = cpu.FaultSource == (int)EventSource.Software;
        bool hasError = !software && Vector.HasErrorCode(cpu.FaultVector);
        return new StepResult(StepKind.Exception, cpu.FaultVector, hasError, hasError ? cpu.FaultError : 0, cpu.FaultAddress, software);
    }

    private bool Repeats => Instruction.HasRepePrefix || Instruction.HasRepnePrefix;

    /// <inheritdoc/>
    public void Dispose()
    {
        _runner.Dispose();
        _context.Dispose();
    }
}
