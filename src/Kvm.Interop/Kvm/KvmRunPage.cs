using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>
/// A typed view of the run page that KVM and the vCPU's thread share (<c>struct kvm_run</c>). Each exit's data is returned by reference:
/// read it in place, answer in place. Which view holds is told by <see cref="ExitReason"/>.
/// One thread uses it, the one that calls <see cref="KvmVcpu.Run"/>; only <see cref="ImmediateExit"/> may be set by others.
/// The memory lives as long as the vCPU; after its disposal the view must not be touched.
/// </summary>
public sealed unsafe class KvmRunPage : IDisposable
{
    private readonly KvmRun* _run;
    private readonly int _size;
    private bool _owned;

    internal KvmRunPage(nint address, int size)
    {
        _run = (KvmRun*)address;
        _size = size;
    }

    private KvmRunPage(int size)
        : this((nint)NativeMemory.AllocZeroed((nuint)size), size)
    {
        _owned = true;
    }

    /// <summary>A page of no vCPU, for code that turns exits into actions and wants to be tested without /dev/kvm.</summary>
    /// <param name="size">Bytes: what KVM_GET_VCPU_MMAP_SIZE would say, at least 4096.</param>
    public static KvmRunPage CreateDetached(int size = 3 * 4096)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 4096);
        return new KvmRunPage(size);
    }

    /// <summary>Length of the mapping in bytes (KVM_GET_VCPU_MMAP_SIZE).</summary>
    public int Size => _size;

    /// <summary>Why the last run ended. Settable for pages of no vCPU.</summary>
    public KvmExit ExitReason
    {
        get => _run->ExitReason;
        set => _run->ExitReason = value;
    }

    /// <summary>Makes the next KVM_RUN return -EINTR before entering the guest, pending I/O completed (KVM_CAP_IMMEDIATE_EXIT). May be set from any thread.</summary>
    public bool ImmediateExit
    {
        get => Volatile.Read(ref _run->ImmediateExit) != 0;
        set => Volatile.Write(ref _run->ImmediateExit, value ? (byte)1 : (byte)0);
    }

    /// <summary>Asks for KVM_EXIT_IRQ_WINDOW_OPEN as soon as an interrupt can be injected (VM without in-kernel chip).</summary>
    public bool RequestInterruptWindow
    {
        get => _run->RequestInterruptWindow != 0;
        set => _run->RequestInterruptWindow = value ? (byte)1 : (byte)0;
    }

    /// <summary>Whether KVM_INTERRUPT would be taken now.</summary>
    public bool ReadyForInterruptInjection
    {
        get => _run->ReadyForInterruptInjection != 0;
        set => _run->ReadyForInterruptInjection = value ? (byte)1 : (byte)0;
    }

    /// <summary>RFLAGS.IF at the exit.</summary>
    public bool IfFlag
    {
        get => _run->IfFlag != 0;
        set => _run->IfFlag = value ? (byte)1 : (byte)0;
    }

    /// <summary><see cref="KvmConst.KVM_RUN_X86_SMM"/>, <see cref="KvmConst.KVM_RUN_X86_BUS_LOCK"/>.</summary>
    public ushort Flags
    {
        get => _run->Flags;
        set => _run->Flags = value;
    }

    /// <summary>CR8, in and out (meaningful without in-kernel local APIC).</summary>
    public ref ulong Cr8 => ref _run->Cr8;

    /// <summary>IA32_APIC_BASE, in and out (meaningful without in-kernel local APIC).</summary>
    public ref ulong ApicBase => ref _run->ApicBase;

    /// <summary>Data of <see cref="KvmExit.Unknown"/>.</summary>
    public ref KvmRunHw Hw => ref _run->Union.Hw;

    /// <summary>Data of <see cref="KvmExit.FailEntry"/>.</summary>
    public ref KvmRunFailEntry FailEntry => ref _run->Union.FailEntry;

    /// <summary>Data of <see cref="KvmExit.Exception"/>.</summary>
    public ref KvmRunEx Ex => ref _run->Union.Ex;

    /// <summary>Data of <see cref="KvmExit.Io"/>; the bytes are in <see cref="IoData"/>.</summary>
    public ref KvmRunIo Io => ref _run->Union.Io;

    /// <summary>Data of <see cref="KvmExit.Debug"/>.</summary>
    public ref KvmDebugExitArch Debug => ref _run->Union.Debug;

    /// <summary>Data of <see cref="KvmExit.Mmio"/>; the bytes are in <see cref="MmioData"/>.</summary>
    public ref KvmRunMmio Mmio => ref _run->Union.Mmio;

    /// <summary>Data of <see cref="KvmExit.Hypercall"/>.</summary>
    public ref KvmRunHypercall Hypercall => ref _run->Union.Hypercall;

    /// <summary>Data of <see cref="KvmExit.TprAccess"/>.</summary>
    public ref KvmRunTprAccess TprAccess => ref _run->Union.TprAccess;

    /// <summary>Data of <see cref="KvmExit.InternalError"/>.</summary>
    public ref KvmRunInternal Internal => ref _run->Union.Internal;

    /// <summary>Data of <see cref="KvmExit.InternalError"/> with suberror <see cref="KvmConst.KVM_INTERNAL_ERROR_EMULATION"/>.</summary>
    public ref KvmRunEmulationFailure EmulationFailure => ref _run->Union.EmulationFailure;

    /// <summary>Data of <see cref="KvmExit.SystemEvent"/>.</summary>
    public ref KvmRunSystemEvent SystemEvent => ref _run->Union.SystemEvent;

    /// <summary>Data of <see cref="KvmExit.IoapicEoi"/>.</summary>
    public ref KvmRunEoi Eoi => ref _run->Union.Eoi;

    /// <summary>Data of <see cref="KvmExit.Hyperv"/>.</summary>
    public ref KvmHypervExit Hyperv => ref _run->Union.Hyperv;

    /// <summary>Data of <see cref="KvmExit.X86Rdmsr"/> and <see cref="KvmExit.X86Wrmsr"/>.</summary>
    public ref KvmRunMsr Msr => ref _run->Union.Msr;

    /// <summary>Data of <see cref="KvmExit.Xen"/>.</summary>
    public ref KvmXenExit Xen => ref _run->Union.Xen;

    /// <summary>Data of <see cref="KvmExit.Notify"/>.</summary>
    public ref KvmRunNotify Notify => ref _run->Union.Notify;

    /// <summary>Data of <see cref="KvmExit.MemoryFault"/>.</summary>
    public ref KvmRunMemoryFault MemoryFault => ref _run->Union.MemoryFault;

    /// <summary>Register classes KVM puts into <see cref="SyncRegs"/> at each exit: <c>KVM_SYNC_X86_</c> bits of <see cref="KvmConst"/>.</summary>
    public ref ulong KvmValidRegs => ref _run->KvmValidRegs;

    /// <summary>Register classes KVM takes from <see cref="SyncRegs"/> at the next run; KVM clears it.</summary>
    public ref ulong KvmDirtyRegs => ref _run->KvmDirtyRegs;

    /// <summary>Registers exchanged through the page (KVM_CAP_SYNC_REGS).</summary>
    public ref KvmSyncRegs SyncRegs => ref _run->S.Regs;

    /// <summary>
    /// The bytes of a port access, <c>Size × Count</c> of them: what the guest wrote, or where the answer goes. Empty where the
    /// fields would lead outside the mapping, which a sound kernel never does.
    /// </summary>
    public Span<byte> IoData
    {
        get
        {
            // Copied once: the guest cannot reach the page, but the length checked must be the length used.
            KvmRunIo io = _run->Union.Io;
            ulong length = (ulong)io.Size * io.Count;
            return io.DataOffset <= (ulong)_size && length <= (ulong)_size - io.DataOffset
                ? new Span<byte>((byte*)_run + io.DataOffset, (int)length)
                : default;
        }
    }

    /// <summary>The bytes of an MMIO access, at most eight: what the guest wrote, or where the answer goes.</summary>
    public Span<byte> MmioData => new(&_run->Union.Mmio.Data, (int)Math.Min(_run->Union.Mmio.Len, 8u));

    /// <summary>The instruction bytes KVM could not emulate, or empty where it does not tell them.</summary>
    public ReadOnlySpan<byte> FailedInstruction
    {
        get
        {
            KvmRunEmulationFailure* failure = &_run->Union.EmulationFailure;
            // The kernel counts flags and the 16 bytes of size and code as three 64-bit words in ndata.
            bool told = failure->Suberror == KvmConst.KVM_INTERNAL_ERROR_EMULATION && failure->Ndata >= 3
                && (failure->Flags & KvmConst.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
            return told ? new ReadOnlySpan<byte>(&failure->InsnBytes, Math.Min(failure->InsnSize, (byte)15)) : default;
        }
    }

    /// <summary>The data words of an internal error, bounded.</summary>
    public ReadOnlySpan<ulong> InternalData => new(&_run->Union.Internal.Data, (int)Math.Min(_run->Union.Internal.Ndata, 16u));

    /// <summary>The data words of a system event, bounded; without KVM_CAP_SYSTEM_EVENT_DATA, the flags alone.</summary>
    public ReadOnlySpan<ulong> SystemEventData => new(&_run->Union.SystemEvent.Data, (int)Math.Min(_run->Union.SystemEvent.Ndata, 16u));

    /// <summary>Start of the page, for the rings that lie in the same mapping.</summary>
    internal nint Address => (nint)_run;

    /// <summary>Frees a page of no vCPU; nothing else.</summary>
    public void Dispose()
    {
        if (_owned)
        {
            _owned = false;
            NativeMemory.Free(_run);
        }
    }
}
