using Kvm.Devices.Bus;
using Kvm.Interop;

namespace Kvm.Vmm.Vcpu;

/// <summary>What the vCPU loop does after an exit has been looked at.</summary>
internal enum ExitAction
{
    /// <summary>It is dealt with: enter the guest again.</summary>
    Resume,

    /// <summary>A triple fault.</summary>
    TripleFault,

    /// <summary>HLT with no in-kernel interrupt chip behind it.</summary>
    Halt,

    /// <summary>KVM could not emulate an instruction: completion's case.</summary>
    EmulationFailure,

    /// <summary>A guest-debug event: the syscall repair's case, or a debugger's.</summary>
    Debug,

    /// <summary>A write to an MSR that a filter hands to us.</summary>
    WriteMsr,

    /// <summary>Nothing can be done: explain and end.</summary>
    Fail,
}

/// <summary>
/// What an exit means: a function of the run page and the buses, with no vCPU in sight, so that it is tested without one.
/// Exit reasons and their data: KVM api.rst, section 5.
/// </summary>
internal static class ExitDispatcher
{
    /// <summary>Performs the port or MMIO access of the exit, or says what is to be done about it. Allocates nothing.</summary>
    public static ExitAction Dispatch(KvmRunPage page, IoBus ports, IoBus mmio)
    {
        switch (page.ExitReason)
        {
            case KvmExit.Io:
                AccessPorts(page, ports);
                return ExitAction.Resume;
            case KvmExit.Mmio:
                if (page.Mmio.IsWrite != 0)
                    mmio.Write(page.Mmio.PhysAddr, page.MmioData);
                else
                    mmio.Read(page.Mmio.PhysAddr, page.MmioData);
                return ExitAction.Resume;
            case KvmExit.Intr:
            case KvmExit.IrqWindowOpen:
            case KvmExit.SetTpr:
            case KvmExit.TprAccess:
            case KvmExit.IoapicEoi:
            case KvmExit.Nmi:
            case KvmExit.X86BusLock:
                return ExitAction.Resume;
            case KvmExit.Hlt:
                return ExitAction.Halt;
            case KvmExit.Shutdown:
                return ExitAction.TripleFault;
            case KvmExit.Debug:
                return ExitAction.Debug;
            case KvmExit.X86Wrmsr:
                return ExitAction.WriteMsr;
            case KvmExit.InternalError when page.Internal.Suberror == KvmConst.KVM_INTERNAL_ERROR_EMULATION:
                return ExitAction.EmulationFailure;
            default:
                return ExitAction.Fail;
        }
    }

    /// <summary>One access for each element: <c>rep ins</c>/<c>rep outs</c> come with a count.</summary>
    private static void AccessPorts(KvmRunPage page, IoBus ports)
    {
        const byte toGuest = 0; // KVM_EXIT_IO_IN
        var data = page.IoData;
        int size = page.Io.Size;
        ushort port = page.Io.Port;
        bool isRead = page.Io.Direction == toGuest;
        if (size is not (1 or 2 or 4))
            return;
        for (; data.Length >= size; data = data[size..])
        {
            if (isRead)
                ports.Read(port, data[..size]);
            else
                ports.Write(port, data[..size]);
        }
    }

    /// <summary>The exit in words, for a run that ends because of it.</summary>
    public static string Explain(KvmRunPage page)
    {
        switch (page.ExitReason)
        {
            case KvmExit.FailEntry:
                return $"KVM could not enter the guest: hardware reason 0x{page.FailEntry.HardwareEntryFailureReason:x} on host CPU {page.FailEntry.Cpu} "
                    + "(VT-x: SDM vol. 3, 27.8: an invalid guest state; often real mode without unrestricted guest)";
            case KvmExit.InternalError:
                return $"KVM internal error, suberror {page.Internal.Suberror} ({SuberrorName(page.Internal.Suberror)}), data "
                    + string.Join(' ', page.InternalData.ToArray().Select(d => $"{d:x}"));
            case KvmExit.Unknown:
                return $"KVM reported an exit it does not know: hardware reason 0x{page.Hw.HardwareExitReason:x}";
            case KvmExit.SystemEvent:
                return $"the guest raised system event {page.SystemEvent.Type}";
            case KvmExit.MemoryFault:
                return $"KVM could not resolve guest memory at 0x{page.MemoryFault.Gpa:x}";
            case KvmExit.Notify:
                return "the guest kept the processor from taking interrupts (KVM_EXIT_NOTIFY)";
            case KvmExit.Hypercall:
                return $"hypercall {page.Hypercall.Nr} reached the VMM, which enabled none";
            default:
                return $"exit reason {(uint)page.ExitReason} ({page.ExitReason}), which was never asked for";
        }
    }

    private static string SuberrorName(uint suberror) => suberror switch
    {
        KvmConst.KVM_INTERNAL_ERROR_EMULATION => "emulation failure",
        2 => "simultaneous exceptions",
        3 => "exit while delivering an event",
        4 => "unexpected VM exit",
        _ => "unknown",
    };
}
