using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Probing;
using Kvm.X86.Engine;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// What KVM_SET_GUEST_DEBUG is told for one vCPU: the debugger's points, the breakpoint of the syscall repair, a step. The only place that
/// calls it on a running machine, as each call replaces what the one before said (api.rst, KVM_SET_GUEST_DEBUG).
/// </summary>
/// <remarks>Used by the vCPU's thread, or by the debugger's while the vCPU stands still. Allocates nothing on an exit.</remarks>
internal sealed class KvmVcpuDebug(KvmVcpu vcpu, bool first, GuestMemory memory, Func<DebugFacts> facts, KvmPlants plants)
{
    private const int Slots = 4;
    private const string UseSoft = "run with --engine soft";
    private const ulong DebugHitBits = 15, DebugStepBit = 1 << 14;

    private readonly DebugPoint?[] _slots = new DebugPoint?[Slots];
    private readonly ArchitecturalState _state = new();
    private ulong? _repair;
    private bool _debugged;

    /// <summary>Why the last exit was a stop.</summary>
    public DebugHit Hit { get; private set; }

    /// <summary>Whether a step is on its way.</summary>
    public bool IsStepping { get; private set; }

    /// <summary>Sets the breakpoint of the syscall repair, which takes the first debug register.</summary>
    public void SetRepair(ulong handler)
    {
        _repair = handler;
        Apply();
    }

    /// <summary>As <see cref="IVcpuDebug.WhyNot"/>.</summary>
    public string? WhyNot(in DebugPoint point)
    {
        if (point.Kind == DebugPointKind.Read)
            return $"x86 processors have no watchpoints on reads alone, and this guest runs on KVM: watch accesses, or {UseSoft}";
        if (point.Kind != DebugPointKind.Execute)
            return WhyNoWatch(point);
        if (!first)
            return null; // code is where the first vCPU finds it: this one may not have been started
        bool user = IsUser(point.Address, out bool mapped);
        bool registers = user ? facts().BreakUser : facts().BreakKernel, traps = user ? facts().TrapUser : facts().TrapKernel;
        if (!registers && !(traps && mapped))
            return $"this host's KVM has no breakpoints in {(user ? "user" : "kernel")} code of guests: {UseSoft}";
        return FreeSlot() >= 0 && registers || traps && mapped
            ? null : $"this host's KVM has no more than {Slots - FirstSlot} breakpoints here: {UseSoft}";
    }

    /// <summary>As <see cref="IVcpuDebug.WhyNoStep"/>.</summary>
    public string? WhyNoStep()
    {
        vcpu.GetSregs(out var sregs);
        bool user = (sregs.Cr0 & 1) != 0 && (sregs.Cs.Selector & 3) == 3;
        return (user ? facts().StepUser : facts().StepKernel) ? null : $"this host's KVM does not step {(user ? "user" : "kernel")} code of guests: {UseSoft}";
    }

    /// <summary>Replaces the debugger's points: debug registers first, then planted <c>int3</c>.</summary>
    public void SetPoints(IReadOnlyList<DebugPoint> points)
    {
        Array.Clear(_slots);
        var rest = new List<(ulong, ulong)>();
        foreach (var point in points.OrderBy(p => p.Kind == DebugPointKind.Execute))
        {
            int slot = FreeSlot();
            bool registers = point.Kind != DebugPointKind.Execute || (IsUser(point.Address, out _) ? facts().BreakUser : facts().BreakKernel);
            if (slot >= 0 && registers)
                _slots[slot] = point;
            else if (vcpu.Translate(point.Address) is { Valid: not 0 } translation)
                rest.Add((point.Address, translation.PhysicalAddress));
        }

        if (first)
            plants.Set(rest);
        _debugged = points.Count > 0;
        Apply();
    }

    /// <summary>The next entry makes one step, without points.</summary>
    public void BeginStep()
    {
        IsStepping = true;
        vcpu.SetGuestDebug(new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_SINGLESTEP });
    }

    /// <summary>The step is made, or given up.</summary>
    public void EndStep()
    {
        IsStepping = false;
        Hit = new DebugHit(DebugCause.Step);
        Apply();
    }

    /// <summary>A debug exit: true if it is the debugger's.</summary>
    public bool TryTake()
    {
        if (!_debugged)
            return false;
        ref var exit = ref vcpu.RunPage.Debug;
        if (plants.Contains(exit.Pc))
            return Stop(DebugCause.Breakpoint, new DebugPoint(DebugPointKind.Execute, exit.Pc));
        foreach (var slot in _slots)
        {
            if (slot is { Kind: DebugPointKind.Execute } point && point.Address == exit.Pc)
                return Stop(DebugCause.Breakpoint, point);
        }

        for (int slot = 0; slot < Slots; slot++)
        {
            if (((exit.Dr6 & DebugHitBits) >> slot & 1) != 0 && _slots[slot] is { Kind: not DebugPointKind.Execute } watch)
                return Stop(DebugCause.Watchpoint, watch);
        }

        return false;
    }

    /// <summary>KVM gave up on an instruction: true if that is a planted <c>int3</c>.</summary>
    public bool TryTakePlanted()
    {
        if (plants.IsEmpty)
            return false;
        vcpu.GetRegs(out var regs);
        vcpu.GetSregs(out var sregs);
        ulong linear = sregs.Cs.L != 0 ? regs.Rip : (uint)(sregs.Cs.Base + regs.Rip);
        return plants.Contains(linear) && Stop(DebugCause.Breakpoint, new DebugPoint(DebugPointKind.Execute, linear));
    }

    private int FirstSlot => _repair is null ? 0 : 1;

    private bool Stop(DebugCause cause, DebugPoint point)
    {
        Hit = new DebugHit(cause, point);
        return true;
    }

    private int FreeSlot()
    {
        for (int slot = FirstSlot; slot < Slots; slot++)
        {
            if (_slots[slot] is null)
                return slot;
        }

        return -1;
    }

    private string? WhyNoWatch(in DebugPoint point)
    {
        if (!(facts().WatchKernel && facts().WatchUser))
            return $"this host's KVM has no watchpoints for guests: {UseSoft}";
        if (point.Length is not (1 or 2 or 4 or 8) || point.Address % point.Length != 0)
            return $"a watchpoint of {point.Length} bytes at {point.Address:x} does not fit a debug register: {UseSoft}";
        return FreeSlot() >= 0 ? null : $"all debug registers are in use: {UseSoft}";
    }

    /// <summary>Whether a page is one of user code: all levels of its translation let user code in. What is not mapped yet is taken for kernel code.</summary>
    private bool IsUser(ulong linear, out bool mapped)
    {
        const ulong user = 4;
        vcpu.GetRegs(out var regs);
        vcpu.GetSregs(out var sregs);
        KvmArchitecturalState.Load(_state, regs, sregs);
        Span<PageTableEntry> path = stackalloc PageTableEntry[PageTables.MostLevels];
        mapped = PageTables.TryTranslate(memory, _state, linear, out ulong physical, path, out int levels) && memory.Contains(physical, 1);
        ulong rights = user;
        foreach (ref readonly var entry in path[..levels])
            rights &= entry.Value;
        return mapped && levels > 0 && rights != 0;
    }

    private void Apply()
    {
        var control = new KvmGuestDebug();
        ulong enabled = 0x400;
        for (int slot = 0; slot < Slots; slot++)
        {
            if (slot < FirstSlot)
            {
                control.Arch.Debugreg[slot] = _repair!.Value;
                enabled |= 3UL << (2 * slot);
            }
            else if (_slots[slot] is { } point)
            {
                control.Arch.Debugreg[slot] = point.Address;
                enabled |= (3UL << (2 * slot)) | (Condition(point) << (16 + (4 * slot)));
            }
        }

        if (enabled != 0x400)
            control.Control |= KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_HW_BP;
        if (!plants.IsEmpty)
            control.Control |= KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_SW_BP;
        control.Arch.Debugreg[7] = enabled;
        vcpu.SetGuestDebug(control);
    }

    /// <summary>R/W and LEN fields of DR7 (SDM vol. 3, 17.2.4).</summary>
    private static ulong Condition(in DebugPoint point) => point.Kind switch
    {
        DebugPointKind.Execute => 0,
        _ => (point.Kind == DebugPointKind.Write ? 1UL : 3) | (point.Length switch { 1 => 0UL, 2 => 1, 8 => 2, _ => 3 } << 2),
    };
}
