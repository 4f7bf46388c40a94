using Kvm.X86.Execute;
using Kvm.X86.Interrupts;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

public sealed partial class SoftProcessor
{
    /// <summary>
    /// Everything that may happen between two blocks: notices about code, INIT and start-up, NMI, interrupts, halting. True when the
    /// guest is to run on.
    /// </summary>
    private bool Attend(out SoftExit exit)
    {
        exit = SoftExit.Kicked;
        while (true)
        {
            ref var cpu = ref _context.State;
            // First the word, then what it announces: what comes later sets it again.
            Interlocked.Exchange(ref cpu.Attention, 0);
            if (_notices.Any)
                TakeNotices();
            if (Interlocked.Exchange(ref _kicked, 0) != 0)
            {
                RequestAttention();
                return false;
            }

            if (!TakeEvents(ref cpu, out exit))
                return false;
            if (cpu.Activity == (int)ActivityState.Running)
            {
                _resting = false;
                return true;
            }

            if (cpu.Activity == (int)ActivityState.Shutdown)
            {
                exit = SoftExit.Shutdown;
                return false;
            }

            if (_bounded)
            {
                _halts += _resting || cpu.Activity != (int)ActivityState.Halted ? 0UL : 1UL;
                _resting = true;
                exit = SoftExit.Halted;
                return false;
            }

            // A kick ends the wait but not the halt: the next run goes on with it.
            _halts += _resting ? 0UL : 1UL;
            _resting = true;
            WaitForEvent(ref cpu);
        }
    }

    private void WaitForEvent(ref Cpu cpu)
    {
        // Whoever sets the attention word sets the event too, so nothing slips between this test and the wait.
        while (Volatile.Read(ref cpu.Attention) >= 0)
            _wake.WaitOne();
    }

    /// <summary>Takes events in the order of SDM vol. 3, table 6-2. False when the run is over.</summary>
    private bool TakeEvents(ref Cpu cpu, out SoftExit exit)
    {
        exit = SoftExit.Kicked;
        if (_context.Pending.IsPending && !DeliverRestored(ref cpu, out exit))
            return false;
        if (cpu.NmiPending != 0 && TakesNmi(cpu))
        {
            cpu.NmiPending = 0;
            return DeliverNmi(ref cpu, out exit);
        }

        if (_chips == null)
            return true;
        var pending = _chips.Pending;
        if (pending == InterruptEvents.None)
            return true;
        if ((pending & InterruptEvents.Init) != 0 && _chips.TakeInit())
            Reset(_chips.IsBootstrapProcessor);
        if ((pending & InterruptEvents.Startup) != 0)
            Start(ref cpu, _chips.TakeStartup());
        if (cpu.Activity is (int)ActivityState.WaitForSipi or (int)ActivityState.Shutdown || cpu.InterruptShadow != 0)
            return true;
        if ((pending & InterruptEvents.Nmi) != 0 && TakesNmi(cpu) && _chips.TakeNmi())
            return DeliverNmi(ref cpu, out exit);

        if ((pending & InterruptEvents.Maskable) == 0 || (cpu.Rflags & Bits.If) == 0)
            return true;
        int vector = _chips.AcknowledgeInterrupt();
        return vector < 0 || DeliverExternal(ref cpu, vector, out exit);
    }

    private static bool TakesNmi(in Cpu cpu) =>
        cpu.NmiMasked == 0 && cpu.InterruptShadow == 0 && cpu.Activity is (int)ActivityState.Running or (int)ActivityState.Halted;

    private bool DeliverNmi(ref Cpu cpu, out SoftExit exit)
    {
        cpu.NmiMasked = 1;
        return DeliverExternal(ref cpu, Vector.Nmi, out exit);
    }

    private bool DeliverExternal(ref Cpu cpu, int vector, out SoftExit exit)
    {
        cpu.Activity = (int)ActivityState.Running;
        bool alive = Events.Deliver(ref cpu, _context, vector, EventSource.External, false, 0);
        // Another may be pending that IF no longer lets in, or an NMI: whoever lifts the obstacle looks again.
        return AfterDelivery(ref cpu, alive, cpu.Rip, out exit);
    }

    /// <summary>An exception or interrupt that was on its way when the state was saved.</summary>
    private bool DeliverRestored(ref Cpu cpu, out SoftExit exit)
    {
        var pending = _context.Pending;
        _context.Pending = default;
        var source = pending.Vector < 32 ? EventSource.Exception : EventSource.External;
        cpu.FaultAddress = cpu.Cr2;
        bool alive = Events.Deliver(ref cpu, _context, pending.Vector, source, pending.HasErrorCode, pending.ErrorCode);
        return AfterDelivery(ref cpu, alive, cpu.Rip, out exit);
    }

    private void Start(ref Cpu cpu, int vector)
    {
        if (vector < 0 || cpu.Activity != (int)ActivityState.WaitForSipi)
            return;
        ref var cs = ref cpu.Segments[Seg.Cs];
        cs.Selector = (ushort)(vector << 8);
        cs.Base = (ulong)vector << 12;
        cpu.Rip = 0;
        cpu.Activity = (int)ActivityState.Running;
        Modes.Update(ref cpu, _context);
    }

    private void TakeNotices()
    {
        if (!_notices.Take(_taken, out int count))
        {
            _cache.Reset();
            _context.FlushTlb(true);
            return;
        }

        foreach (ref readonly var notice in _taken.AsSpan(0, count))
        {
            if (notice.Kind == CodeNoticeKind.Written)
                _cache.Drop(notice.Page, notice.Granules);
            else if (_context.ProtectPage(notice.Page))
            {
                // Until now this processor could write the page unseen: what others decoded may be stale.
                _machine.Tell(_machine.Code.Owners(notice.Page), new CodeNotice(CodeNoticeKind.Written, notice.Page, ulong.MaxValue), -1);
                _machine.TellTables(notice.Page, ulong.MaxValue, -1);
            }
        }
    }
}
