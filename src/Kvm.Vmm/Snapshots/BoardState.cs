using Kvm.X86.Interrupts;
using Kvm.X86.State;

namespace Kvm.Vmm.Snapshots;

/// <summary>A leaf of CPUID as the guest sees it.</summary>
internal readonly record struct CpuidLeaf(uint Function, uint Index, bool IsIndexed, uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>Processors, interrupt chips and clocks of a machine, in one form for both engines: chips as KVM's structures have them.</summary>
internal sealed class BoardState
{
    /// <summary>The most leaves of CPUID.</summary>
    public const int MostLeaves = 256;

    /// <summary>Nanoseconds of guest time: kvmclock.</summary>
    public ulong GuestTime { get; set; }

    /// <summary>Frequency of the time stamp counters in Hz; 0 if nobody knew.</summary>
    public ulong TscFrequency { get; set; }

    /// <summary>What the first processor shows of itself.</summary>
    public IReadOnlyList<CpuidLeaf> Cpuid { get; set; } = [];

    /// <summary>Two <c>struct kvm_pic_state</c>.</summary>
    public byte[] Pic { get; } = new byte[Pic8259.KvmStateSize];

    /// <summary><c>struct kvm_ioapic_state</c>. Of edge-triggered pins only those that wait count as asserted.</summary>
    public byte[] IoApic { get; } = new byte[X86.Interrupts.IoApic.KvmStateSize];

    /// <summary><c>struct kvm_pit_state2</c>, with the speaker's data bit of port 0x61 among its flags.</summary>
    public byte[] Pit { get; } = new byte[Pit8254.KvmStateSize];

    /// <summary>The processors; the index is the APIC id.</summary>
    public ProcessorState[] Processors { get; set; } = [];
}

/// <summary>One processor with its local APIC.</summary>
internal sealed class ProcessorState
{
    /// <summary>The most model-specific registers kept besides those of <see cref="Registers"/>.</summary>
    public const int MostMsrs = 1024;

    /// <summary>The registers; the time stamp counter is that of <see cref="BoardState.GuestTime"/>.</summary>
    public ArchitecturalState Registers { get; } = new();

    /// <summary><c>struct kvm_lapic_state</c>.</summary>
    public byte[] Lapic { get; } = new byte[LocalApic.KvmStateSize];

    /// <summary>IA32_TSC_DEADLINE; 0 if none is armed.</summary>
    public ulong TscDeadline { get; set; }

    /// <summary>An INIT that the processor has not taken yet.</summary>
    public bool InitPending { get; set; }

    /// <summary>The vector of a start-up IPI that it has not taken yet, or −1.</summary>
    public int StartupVector { get; set; } = -1;

    /// <summary>Other model-specific registers, in ascending order of number.</summary>
    public IReadOnlyList<(uint Index, ulong Value)> Msrs { get; set; } = [];
}
