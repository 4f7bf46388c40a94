using System.Buffers.Binary;
using Kvm.Devices.Platform;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.Vmm.Vcpu;

/// <summary>The software engine's processors, chips and clock to and from <see cref="BoardState"/>. While no processor runs and the clock stands still.</summary>
internal sealed class SoftBoard(ChipSet chips, HostGuestClock clock, CpuidTable cpuid, IReadOnlyList<SoftProcessor> processors, SystemControlB control)
{
    private const uint TscDeadline = 0x6e0, SystemTime = 0x4b56_4d01, WallClock = 0x4b56_4d00, SystemTimeOld = 0x12, WallClockOld = 0x11;
    private const int IoApicEntries = 24, IoApicIrr = 16, PitFlags = 72;
    private const ulong LevelTriggered = 1 << 15;
    private const byte SpeakerOfPit = 1 << 1, SpeakerOfPort = 1 << 1, GateOfPort = 1;

    // The byte of a channel's gate in struct kvm_pit_channel_state.
    private const int GateOfChannel2 = (2 * 24) + 15;

    /// <summary>Takes everything out.</summary>
    public void Save(BoardState board)
    {
        board.GuestTime = clock.Now;
        board.TscFrequency = clock.TscFrequency;
        board.Cpuid = Leaves();
        chips.Pic!.SaveKvmState(board.Pic);
        chips.IoApic.SaveKvmState(board.IoApic);
        ForgetEdges(board.IoApic);
        chips.Pit!.SaveKvmState(board.Pit);
        var port = new StateWriter();
        control.Save(port);
        board.Pit[PitFlags] = (port.Written[0] & SpeakerOfPort) != 0 ? SpeakerOfPit : (byte)0;
        board.Processors = new ProcessorState[processors.Count];
        for (int i = 0; i < processors.Count; i++)
            board.Processors[i] = Save(i);
    }

    private ProcessorState Save(int index)
    {
        var state = new ProcessorState();
        var own = chips.Processors[index];
        processors[index].GetState(state.Registers);
        state.Registers.Msr.TscAdjust = own.Counter.Offset;
        own.Apic.SaveKvmState(state.Lapic);
        state.TscDeadline = own.Apic.TscDeadline;
        var (events, vector) = own.Apic.SignalsPending;
        state.Registers.NmiPending |= (events & InterruptEvents.Nmi) != 0;
        state.InitPending = (events & InterruptEvents.Init) != 0;
        state.StartupVector = (events & InterruptEvents.Startup) != 0 ? vector : -1;
        List<(uint, ulong)> msrs = [];
        foreach (uint msr in (ReadOnlySpan<uint>)[WallClock, SystemTime])
        {
            if (own.TryReadMsr(msr, out ulong value) && value != 0)
                msrs.Add((msr, value));
        }

        state.Msrs = msrs;
        return state;
    }

    /// <summary>Puts everything in; what this engine cannot is in the report. Devices' wires are driven already.</summary>
    public void Restore(BoardState board, RestoreReport report)
    {
        RestoreCpuid(board, report);
        if (board.TscFrequency != clock.TscFrequency)
            report.Differs($"a time stamp counter of {board.TscFrequency} Hz");
        clock.Set(board.GuestTime);
        for (int i = 0; i < processors.Count; i++)
            RestoreMsrs(i, board.Processors[i], report);
        // Twice: a chip that is restored drives its wires, which the chips behind them have not to notice; the second time no wire moves.
        for (int pass = 0; pass < 2; pass++)
        {
            for (int i = 0; i < processors.Count; i++)
                RestoreApic(i, board.Processors[i], report);
            _ = chips.Pic!.TryLoadKvmState(board.Pic) & chips.IoApic.TryLoadKvmState(board.IoApic) & chips.Pit!.TryLoadKvmState(board.Pit);
        }

        RestoreControl(board);
        for (int i = 0; i < processors.Count; i++)
            processors[i].SetState(board.Processors[i].Registers);
    }

    private CpuidLeaf[] Leaves() =>
        [.. cpuid.Leaves.Select(e => new CpuidLeaf(e.Leaf, e.Subleaf, CpuidTable.HasSubleaves(e.Leaf), e.Result.Eax, e.Result.Ebx, e.Result.Ecx, e.Result.Edx))];

    private void RestoreCpuid(BoardState board, RestoreReport report)
    {
        var here = Leaves();
        if (board.Cpuid.SequenceEqual(here) || !CpuidComparison.Covers(board.Cpuid, here, report))
            return;
        cpuid.Clear();
        foreach (var leaf in board.Cpuid)
            cpuid.Set(leaf.Function, leaf.IsIndexed ? leaf.Index : 0, new CpuidResult(leaf.Eax, leaf.Ebx, leaf.Ecx, leaf.Edx));
    }

    /// <summary>Those that are not the processor's own are kvmclock's; others this engine has not.</summary>
    private void RestoreMsrs(int index, ProcessorState state, RestoreReport report)
    {
        ulong systemTime = 0, wallClock = 0;
        foreach (var (msr, value) in state.Msrs)
        {
            if (msr is SystemTime or SystemTimeOld)
                systemTime = value;
            else if (msr is WallClock or WallClockOld)
                wallClock = value;
            else if (value != 0 && !HarmlessMsrs.Contains(msr))
                report.Differs($"MSR {msr:x} with {value:x}");
        }

        var record = new StateWriter();
        record.U64(unchecked(state.Registers.Msr.Tsc - clock.Tsc));
        record.U64(systemTime);
        record.U64(wallClock);
        var reader = new StateReader(record.Written);
        chips.Processors[index].TryRestore(ref reader, 1);
    }

    private void RestoreApic(int index, ProcessorState state, RestoreReport report)
    {
        var own = chips.Processors[index];
        // Out of x2APIC mode only by disabling (SDM vol. 3, 11.12.5): the second time it is in the mode of the record.
        if (own.Apic.Base != state.Registers.Msr.ApicBase && !own.Apic.TryWriteBase(state.Registers.Msr.ApicBase))
            report.IsDamaged($"the base of local APIC {index} is none");
        if (!own.Apic.TryLoadKvmState(state.Lapic))
            report.IsDamaged($"local APIC {index} has another's number");
        own.TryWriteMsr(TscDeadline, state.TscDeadline);
        own.Apic.SignalsPending = ((state.InitPending ? InterruptEvents.Init : 0) | (state.StartupVector >= 0 ? InterruptEvents.Startup : 0), (byte)Math.Max(0, state.StartupVector));
    }

    private void RestoreControl(BoardState board)
    {
        byte gate = board.Pit[GateOfChannel2] != 0 ? GateOfPort : (byte)0;
        byte speaker = (board.Pit[PitFlags] & SpeakerOfPit) != 0 ? SpeakerOfPort : (byte)0;
        var reader = new StateReader([(byte)(gate | speaker)]);
        control.TryRestore(ref reader, 1);
    }

    /// <summary>KVM counts an edge-triggered pin as asserted only while its interrupt waits; here it has been sent.</summary>
    private static void ForgetEdges(Span<byte> ioApic)
    {
        uint asserted = BinaryPrimitives.ReadUInt32LittleEndian(ioApic[IoApicIrr..]);
        for (int pin = 0; pin < 24; pin++)
        {
            if ((BinaryPrimitives.ReadUInt64LittleEndian(ioApic[(IoApicEntries + (8 * pin))..]) & LevelTriggered) == 0)
                asserted &= ~(1u << pin);
        }

        BinaryPrimitives.WriteUInt32LittleEndian(ioApic[IoApicIrr..], asserted);
    }
}
