using Kvm.Devices.Bus;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Bare;

/// <summary>What is around a bare guest: its devices, and who is told of its exits. Called on vCPU threads, one at a time.</summary>
internal interface IBareBoard
{
    /// <summary>Devices behind ports.</summary>
    IoBus Ports { get; }

    /// <summary>Devices behind memory addresses.</summary>
    IoBus Mmio { get; }

    /// <summary>Reads a model-specific register of <see cref="BareOptions.MsrWindow"/>.</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes a model-specific register of <see cref="BareOptions.MsrWindow"/>.</summary>
    bool TryWriteMsr(uint index, ulong value);

    /// <summary>Told of every exit, after its access was made.</summary>
    void Exited(in BareExit exit);

    /// <summary>Told what an instruction did to the shadow page tables, with <see cref="BareOptions.Shadow"/>.</summary>
    /// <param name="rip">The instruction.</param>
    /// <param name="change">The counts that grew, and by how much.</param>
    void ShadowChanged(ulong rip, ShadowStatistics change)
    {
    }

    /// <summary>Asked between two instructions of a vCPU that came out: true ends the run.</summary>
    bool Between(IBareEngine engine, int vcpu);
}

/// <summary>A machine of a few vCPUs and a board, run or stepped as a whole: for guests of a page, whose every exit is looked at.</summary>
/// <remarks>All members but <see cref="Kick"/> belong to one thread, which is nobody else's: <see cref="Run"/> prepares it for kicks.</remarks>
internal interface IBareEngine : IDisposable
{
    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    string Name { get; }

    /// <summary>Runs all vCPUs until something ends it.</summary>
    BareStop Run();

    /// <summary>Runs one instruction of one vCPU, or delivers what is pending and runs the first instruction behind.</summary>
    BareStop Step(int vcpu);

    /// <summary>Whether a vCPU has nothing to execute until it is started or woken. Between steps.</summary>
    bool Waits(int vcpu);

    /// <summary>Makes <see cref="Run"/> return soon, or at once when it is next called. Any thread.</summary>
    void Kick();

    /// <summary>Has halted vCPUs looked at: none may be wakeable any more. Any thread.</summary>
    void LookAtHalts();

    /// <summary>Takes a processor's state out.</summary>
    void Save(int vcpu, ArchitecturalState state);

    /// <summary>Puts a processor's state in.</summary>
    void Restore(int vcpu, ArchitecturalState state);

    /// <summary>Sends the first vCPU an interrupt, as a device's message does (SDM vol. 3, 11.11); with <see cref="BareOptions.Chips"/>.</summary>
    void Interrupt(byte vector);

    /// <summary>The pages of memory written since the last call, by number; with <see cref="BareOptions.TrackWrites"/>.</summary>
    IReadOnlyList<int> TakeWrittenPages();

    /// <summary>Instructions completed for KVM so far, by mnemonic.</summary>
    IReadOnlyDictionary<string, long> Completions { get; }
}
