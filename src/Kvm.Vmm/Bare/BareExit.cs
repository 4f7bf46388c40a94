namespace Kvm.Vmm.Bare;

/// <summary>Why a bare guest's vCPU came out of it.</summary>
internal enum BareExitKind
{
    /// <summary>IN, or an element of INS.</summary>
    PortRead,

    /// <summary>OUT or OUTS.</summary>
    PortWrite,

    /// <summary>A read where no memory is.</summary>
    MmioRead,

    /// <summary>A write where no memory is.</summary>
    MmioWrite,

    /// <summary>RDMSR of a register that the machine keeps.</summary>
    MsrRead,

    /// <summary>WRMSR of a register that the machine keeps.</summary>
    MsrWrite,

    /// <summary>HLT without interrupt chips behind it.</summary>
    Halt,

    /// <summary>KVM gave up on an instruction, which was completed here.</summary>
    Completed,

    /// <summary>A triple fault.</summary>
    TripleFault,

    /// <summary>The engine cannot go on.</summary>
    Failed,
}

/// <summary>One exit, as data.</summary>
/// <param name="Kind">Why.</param>
/// <param name="Vcpu">Which vCPU.</param>
/// <param name="Rip">Instruction pointer when the exit was seen: an engine may count it behind the instruction already.</param>
/// <param name="Address">Port, guest-physical address, or number of the MSR.</param>
/// <param name="Size">Bytes of an element.</param>
/// <param name="Count">Elements: more than one where <c>rep outs</c> and <c>rep ins</c> come together.</param>
/// <param name="Value">The value read or written; of several elements the first.</param>
internal readonly record struct BareExit(BareExitKind Kind, int Vcpu, ulong Rip, ulong Address, int Size, int Count, ulong Value)
{
    /// <summary>What is to be said of it beyond the numbers: a completed instruction, why a run failed.</summary>
    public string? Text { get; init; }
}

/// <summary>Why a run or step of a bare guest returned.</summary>
internal enum BareStop
{
    /// <summary>The step is done; only of <see cref="IBareEngine.Step"/>.</summary>
    Stepped,

    /// <summary>The board said so.</summary>
    Ended,

    /// <summary>Halted, and nothing can wake it.</summary>
    Halted,

    /// <summary>A triple fault.</summary>
    TripleFault,

    /// <summary>The engine cannot go on.</summary>
    Failed,

    /// <summary><see cref="IBareEngine.Kick"/> was called.</summary>
    Kicked,
}
