using System.Runtime.InteropServices;
using Kvm.Interop;
using Kvm.Vmm.Snapshots;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>A KVM machine's processors, chips and clocks to and from <see cref="BoardState"/>. While no vCPU is in KVM_RUN.</summary>
internal sealed class KvmBoard(KvmSystem system, KvmVm vm, IReadOnlyList<KvmVcpu> vcpus, IReadOnlyList<IVcpuEngine> engines, KvmGuestTime time, uint tscKhz)
{
    private const uint ApicBase = 0x1b, SpecCtrl = 0x48, TscAdjust = 0x3b, DebugCtl = 0x1d9, Xss = 0xda0, TscDeadline = 0x6e0, Tsc = 0x10;
    private const uint MtrrVariable = 0x200;

    /// <summary>A counter that is wrong by more than this Linux takes for unstable (parts per million).</summary>
    private const ulong MostPpm = 250;

    private static readonly uint[] s_mtrrFixed = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

    /// <summary>Takes everything out; the machine is paused.</summary>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public void Save(BoardState board)
    {
        board.GuestTime = time.Clock;
        board.TscFrequency = tscKhz * 1000UL;
        board.Cpuid = Leaves(vcpus[0]);
        SaveChips(board);
        uint[] known = system.GetMsrIndexList();
        board.Processors = new ProcessorState[vcpus.Count];
        for (int i = 0; i < vcpus.Count; i++)
        {
            var processor = board.Processors[i] = new ProcessorState();
            KvmVcpuState.Save(vcpus[i], processor.Registers);
            SaveMsrs(vcpus[i], known, processor);
            (processor.Registers.Msr.Tsc, processor.TscDeadline) = time.At(i);
            vcpus[i].GetLapic(out var lapic);
            MemoryMarshal.AsBytes(new ReadOnlySpan<KvmLapicState>(in lapic)).CopyTo(processor.Lapic);
        }
    }

    /// <summary>Puts everything in; what this KVM cannot is in the report. Devices' wires are driven already; memory is there, as KVM reads page tables from it.</summary>
    public void Restore(BoardState board, RestoreReport report)
    {
        try
        {
            RestoreFrequency(board.TscFrequency, report);
            for (int i = 0; i < vcpus.Count; i++)
            {
                RestoreCpuid(vcpus[i], i, board.Cpuid, report);
                RestoreProcessor(i, board.Processors[i], report);
            }

            RestoreChips(board);
            time.Set(board, report);
        }
        catch (KvmException e)
        {
            report.Lacks($"what this KVM takes: {e.Message}");
        }
    }

    private void SaveChips(BoardState board)
    {
        vm.GetIrqchip(KvmIrqchipId.PicMaster, out var master);
        vm.GetIrqchip(KvmIrqchipId.PicSlave, out var slave);
        vm.GetIrqchip(KvmIrqchipId.Ioapic, out var ioapic);
        var pit = vm.GetPit2();
        Copy(in master.Chip.Pic, board.Pic);
        Copy(in slave.Chip.Pic, board.Pic.AsSpan(board.Pic.Length / 2));
        Copy(in ioapic.Chip.Ioapic, board.IoApic);
        Copy(in pit, board.Pit);
    }

    private void RestoreChips(BoardState board)
    {
        var master = new KvmIrqchip { ChipId = KvmIrqchipId.PicMaster };
        var slave = new KvmIrqchip { ChipId = KvmIrqchipId.PicSlave };
        var ioapic = new KvmIrqchip { ChipId = KvmIrqchipId.Ioapic };
        Copy(board.Pic, ref master.Chip.Pic);
        Copy(board.Pic.AsSpan(board.Pic.Length / 2), ref slave.Chip.Pic);
        Copy(board.IoApic, ref ioapic.Chip.Ioapic);
        var pit = vm.GetPit2();
        Copy(board.Pit, ref pit);
        vm.SetIrqchip(in master);
        vm.SetIrqchip(in slave);
        vm.SetIrqchip(in ioapic);
        vm.SetPit2(in pit);
    }

    private void RestoreFrequency(ulong frequency, RestoreReport report)
    {
        ulong here = tscKhz * 1000UL, apart = Math.Max(here, frequency) - Math.Min(here, frequency);
        if (frequency == 0 || here == 0 || apart <= frequency / 1_000_000 * MostPpm)
            return;
        foreach (var vcpu in vcpus)
        {
            if (vcpu.SetTscKhz((uint)(frequency / 1000)) < 0)
            {
                report.Differs($"a time stamp counter of {frequency / 1000} kHz: this host's has {tscKhz} kHz and is not scaled");
                return;
            }
        }
    }

    private static void RestoreCpuid(KvmVcpu vcpu, int index, IReadOnlyList<CpuidLeaf> seen, RestoreReport report)
    {
        var here = Leaves(vcpu);
        // What is every processor's own, its number, is in no comparison.
        if (index == 0 && seen.SequenceEqual(here))
            return;
        var silent = index == 0 ? report : new RestoreReport(allowDifferences: true);
        if (!CpuidComparison.Covers(seen, here, silent))
            return;
        vcpu.SetCpuid2([.. seen.Select(leaf => ToEntry(leaf, index))]);
    }

    private void RestoreProcessor(int index, ProcessorState processor, RestoreReport report)
    {
        var vcpu = vcpus[index];
        vcpu.GetSregs(out var sregs);
        sregs.ApicBase = processor.Registers.Msr.ApicBase;
        vcpu.SetSregs(sregs);
        engines[index].Restore(processor.Registers);
        RestoreMsrs(vcpu, processor, report);
        var lapic = default(KvmLapicState);
        processor.Lapic.CopyTo(MemoryMarshal.AsBytes(new Span<KvmLapicState>(ref lapic)));
        vcpu.SetLapic(in lapic);
        if (processor.InitPending && processor.StartupVector < 0)
            vcpu.SetMpState(KvmMpStateValue.InitReceived);
        if (processor.StartupVector >= 0 && (processor.InitPending || processor.Registers.Activity == ActivityState.WaitForSipi))
        {
            vcpu.GetVcpuEvents(out var events);
            events.SipiVector = (uint)processor.StartupVector;
            events.Flags |= KvmConst.KVM_VCPUEVENT_VALID_SIPI_VECTOR;
            vcpu.SetVcpuEvents(events);
            vcpu.SetMpState(KvmMpStateValue.SipiReceived);
        }
    }

    /// <summary>All that KVM lists (KVM_GET_MSR_INDEX_LIST), but what the registers have already.</summary>
    private static void SaveMsrs(KvmVcpu vcpu, uint[] known, ProcessorState processor)
    {
        var msr = processor.Registers.Msr;
        List<(uint Index, ulong Value)> others = [];
        Span<KvmMsrEntry> entries = new KvmMsrEntry[known.Length];
        for (int i = 0; i < known.Length; i++)
            entries[i] = new KvmMsrEntry(known[i]);
        for (int from = 0; from < entries.Length;)
        {
            int read = vcpu.GetMsrs(entries[from..]);
            foreach (ref readonly var entry in entries.Slice(from, read))
            {
                if (!TryPlace(msr, entry.Index, entry.Data) && !KvmVcpuState.Has(entry.Index) && entry.Index is not (ApicBase or TscDeadline or Tsc) && entry.Data != 0)
                    others.Add((entry.Index, entry.Data));
            }

            from += read + 1; // the one behind it was refused
        }

        others.Sort();
        processor.Msrs = others;
    }

    private static bool TryPlace(MsrState msr, uint index, ulong value)
    {
        switch (index)
        {
            case SpecCtrl:
                msr.SpecCtrl = value;
                return true;
            case TscAdjust:
                msr.TscAdjust = value;
                return true;
            case DebugCtl:
                msr.DebugCtl = value;
                return true;
            case Xss:
                msr.Xss = value;
                return true;
            case >= MtrrVariable and < MtrrVariable + 16:
                msr.MtrrVariable[index - MtrrVariable] = value;
                return true;
            default:
                int at = Array.IndexOf(s_mtrrFixed, index);
                if (at >= 0)
                    msr.MtrrFixed[at] = value;
                return at >= 0;
        }
    }

    private static void RestoreMsrs(KvmVcpu vcpu, ProcessorState processor, RestoreReport report)
    {
        var msr = processor.Registers.Msr;
        Set(SpecCtrl, msr.SpecCtrl);
        Set(TscAdjust, msr.TscAdjust);
        Set(DebugCtl, msr.DebugCtl);
        Set(Xss, msr.Xss);
        for (int i = 0; i < s_mtrrFixed.Length; i++)
            Set(s_mtrrFixed[i], msr.MtrrFixed[i]);
        for (uint i = 0; i < msr.MtrrVariable.Length; i++)
            Set(MtrrVariable + i, msr.MtrrVariable[i]);
        foreach (var (index, value) in processor.Msrs)
            Set(index, value);

        void Set(uint index, ulong value)
        {
            // What a KVM does not have and the guest has not set is not missed.
            bool has = vcpu.TryGetMsr(index, out ulong now);
            if ((has ? now == value : value == 0) || vcpu.TrySetMsr(index, value) || HarmlessMsrs.Contains(index))
                return;
            report.Differs($"MSR {index:x} with {value:x}");
        }
    }

    private static CpuidLeaf[] Leaves(KvmVcpu vcpu) => [.. vcpu.GetCpuid2().Select(e =>
        new CpuidLeaf(e.Function, e.Index, (e.Flags & KvmConst.KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0, e.Eax, e.Ebx, e.Ecx, e.Edx))];

    /// <summary>The leaf as processor <paramref name="index"/> shows it: its APIC id is in leaf 1, 0xb and 0x1f.</summary>
    private static KvmCpuidEntry2 ToEntry(in CpuidLeaf leaf, int index) => new()
    {
        Function = leaf.Function,
        Index = leaf.Index,
        Flags = leaf.IsIndexed ? KvmConst.KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        Eax = leaf.Eax,
        Ebx = leaf.Function == 1 ? leaf.Ebx & 0xff_ffff | (uint)index << 24 : leaf.Ebx,
        Ecx = leaf.Ecx,
        Edx = leaf.Function is 0xb or 0x1f ? (uint)index : leaf.Edx,
    };

    private static void Copy<T>(in T from, Span<byte> to) where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in from)).CopyTo(to);

    private static void Copy<T>(ReadOnlySpan<byte> from, ref T to) where T : unmanaged
    {
        var bytes = MemoryMarshal.AsBytes(new Span<T>(ref to));
        from[..Math.Min(from.Length, bytes.Length)].CopyTo(bytes);
    }
}
