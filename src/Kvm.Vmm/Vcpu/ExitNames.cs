using Kvm.Interop;

namespace Kvm.Vmm.Vcpu;

/// <summary>Names of exit reasons in reports: KVM's own, lower case, without KVM_EXIT_.</summary>
internal static class ExitNames
{
    /// <summary>The name of a reason; reasons of other architectures and future ones go by their number.</summary>
    public static string Of(KvmExit reason) => reason switch
    {
        KvmExit.Io => "io",
        KvmExit.Mmio => "mmio",
        KvmExit.Hlt => "hlt",
        KvmExit.Debug => "debug",
        KvmExit.Intr => "intr",
        KvmExit.IrqWindowOpen => "irq-window-open",
        KvmExit.Shutdown => "shutdown",
        KvmExit.FailEntry => "fail-entry",
        KvmExit.InternalError => "internal-error",
        KvmExit.SystemEvent => "system-event",
        KvmExit.X86Rdmsr => "rdmsr",
        KvmExit.X86Wrmsr => "wrmsr",
        KvmExit.Hypercall => "hypercall",
        KvmExit.IoapicEoi => "ioapic-eoi",
        KvmExit.Exception => "exception",
        KvmExit.Nmi => "nmi",
        KvmExit.Notify => "notify",
        KvmExit.MemoryFault => "memory-fault",
        KvmExit.X86BusLock => "bus-lock",
        KvmExit.Unknown => "unknown",
        _ => $"reason-{(uint)reason}",
    };
}
