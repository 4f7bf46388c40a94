using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>Finds out by a tiny guest what a debugger may expect of this host's KVM. Asked for when somebody debugs, some milliseconds.</summary>
internal static class DebugProber
{
    private const uint Data = 0x9000;

    /// <summary>Runs all probes.</summary>
    /// <exception cref="KvmException">KVM refused a step.</exception>
    public static DebugFacts Probe(KvmSystem system)
    {
        using var guest = new TinyGuest(system);
        return new DebugFacts(
            Steps(guest, 0), Steps(guest, 3), Breaks(guest, 0), Breaks(guest, 3),
            Watches(guest, 0), Watches(guest, 3), Traps(guest, 0), Traps(guest, 3));
    }

    private static bool Steps(TinyGuest guest, byte cpl)
    {
        ReadOnlySpan<byte> code = [0x90, 0x90, 0xe7, (byte)TinyGuest.DonePort]; // nop; nop; out
        var step = new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_SINGLESTEP };
        return StopsAt(guest, code, cpl, step, TinyGuest.CodeAddress + 1);
    }

    private static bool Breaks(TinyGuest guest, byte cpl)
    {
        ReadOnlySpan<byte> code = [0x90, 0x90, 0xe7, (byte)TinyGuest.DonePort];
        var control = new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_HW_BP };
        control.Arch.Debugreg[0] = TinyGuest.CodeAddress + 1;
        control.Arch.Debugreg[7] = 0x403; // L0, G0: one byte, execution
        return StopsAt(guest, code, cpl, control, TinyGuest.CodeAddress + 1);
    }

    private static bool Watches(TinyGuest guest, byte cpl)
    {
        // mov [Data], eax; nop; out
        ReadOnlySpan<byte> code = [0x89, 0x04, 0x25, 0x00, (byte)(Data >> 8), 0x00, 0x00, 0x90, 0xe7, (byte)TinyGuest.DonePort];
        var control = new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_HW_BP };
        control.Arch.Debugreg[0] = Data;
        control.Arch.Debugreg[7] = 0x403 | (0xdUL << 16); // four bytes, writes
        return StopsAt(guest, code, cpl, control, TinyGuest.CodeAddress + 7);
    }

    private static bool Traps(TinyGuest guest, byte cpl)
    {
        ReadOnlySpan<byte> code = [0x90, 0xcc, 0xe7, (byte)TinyGuest.DonePort]; // nop; int3; out
        var control = new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_SW_BP };
        guest.Vcpu.SetGuestDebug(control);
        guest.Load(code, cpl);
        bool comesOut = guest.Run(out _) is TinyOutcome.GaveUp
            || guest.Vcpu.RunPage.ExitReason == KvmExit.Debug;
        guest.Vcpu.GetRegs(out var regs);
        return comesOut && regs.Rip == TinyGuest.CodeAddress + 1;
    }

    private static bool StopsAt(TinyGuest guest, ReadOnlySpan<byte> code, byte cpl, KvmGuestDebug control, ulong rip)
    {
        guest.Vcpu.SetGuestDebug(control);
        guest.Load(code, cpl);
        bool stopped = guest.Run(out _) == TinyOutcome.Other && guest.Vcpu.RunPage.ExitReason == KvmExit.Debug;
        guest.Vcpu.GetRegs(out var regs);
        return stopped && regs.Rip == rip;
    }
}
