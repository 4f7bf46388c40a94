using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Cpu;
using Kvm.Vmm.Observation;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Completion;

/// <summary>
/// Repairs <c>syscall</c> on a KVM that delivers it from user mode with the user's CS and SS (found by
/// <see cref="Probing.HostProber.IsSyscallBroken"/>). Everything else it sets is right, so the first fetch at LSTAR takes a
/// #PF for user code in a supervisor page. A hardware breakpoint on the guest's #PF handler tells us of every page fault; one
/// whose frame says "user CS, RIP = LSTAR" was a syscall, and is turned into the state the processor should have made
/// (SDM vol. 2, SYSCALL). Any other is a real page fault and goes on.
/// </summary>
/// <remarks>Used by the vCPU's thread only. Allocates nothing.</remarks>
internal sealed class SyscallRepair(KvmVcpu vcpu, GuestMemory memory, InstructionCompleter? completer, ExitCounts exits, KvmVcpuDebug debug)
{
    private const uint MsrStar = 0xc000_0081;
    /// <summary>IA32_LSTAR, whose writes KVM must leave to us.</summary>
    public const uint MsrLstar = 0xc000_0082;
    private const uint MsrFmask = 0xc000_0084;

    /// <summary>Vector of #PF.</summary>
    private const int PageFault = 14;

    /// <summary>Error code bit U: the access came from user mode.</summary>
    private const ulong ErrorUser = 4;

    private ulong _lstar;
    private ulong _handler;

    /// <summary>System calls repaired.</summary>
    public long Repaired { get; private set; }

    /// <summary>Real page faults let through.</summary>
    public long PassedOn { get; private set; }

    /// <summary>A filtered write of LSTAR: performs it, and arms the breakpoint.</summary>
    /// <returns>False if the exit is none of ours.</returns>
    public bool TryHandleWriteMsr()
    {
        ref var msr = ref vcpu.RunPage.Msr;
        if (msr.Index != MsrLstar)
            return false;
        msr.Error = vcpu.TrySetMsr(MsrLstar, msr.Data) ? (byte)0 : (byte)1;
        _lstar = msr.Data;
        Arm();
        return true;
    }

    /// <summary>The vCPU has been given another state, LSTAR with it, which the filter has not seen.</summary>
    public void Adopt(ulong lstar)
    {
        (_lstar, _handler) = (lstar, 0);
        ArmIfLate();
    }

    /// <summary>
    /// After any exit: arms the breakpoint for a guest that set LSTAR before it had a page-fault handler. Kernels have theirs in place
    /// by then, and this does nothing.
    /// </summary>
    public void ArmIfLate()
    {
        if (_lstar != 0 && _handler == 0)
            Arm();
    }

    /// <summary>A guest-debug exit: a page fault at its handler, which was a system call and is one now.</summary>
    /// <returns>False if the exit is none of ours.</returns>
    public bool TryRepair()
    {
        if (!IsAtHandler)
            return false;
        vcpu.GetRegs(out var regs);
        vcpu.GetSregs(out var sregs);
        // #PF pushes: error code, RIP, CS, RFLAGS, RSP, SS (SDM vol. 3, 6.14.2).
        Span<byte> frame = stackalloc byte[48];
        if (TryReadStack(sregs, regs.Rsp, frame)
            && (Word(frame, 0) & ErrorUser) != 0 && Word(frame, 1) == _lstar && (Word(frame, 2) & 3) == 3)
        {
            EnterKernel(ref regs, ref sregs, rflags: Word(frame, 3), rsp: Word(frame, 4));
            Repaired++;
            return true;
        }

        return false;
    }

    /// <summary>A guest-debug exit: a real page fault at its handler, which goes on.</summary>
    /// <returns>False if the exit is none of ours, or the handler's first instruction could not be passed.</returns>
    public bool TryPassOn()
    {
        if (!IsAtHandler)
            return false;
        PassedOn++;
        return StepOverFirstInstruction();
    }

    private bool IsAtHandler => _handler != 0 && vcpu.RunPage.Debug.Pc == _handler;

    private void EnterKernel(ref KvmRegs regs, ref KvmSregs sregs, ulong rflags, ulong rsp)
    {
        // STAR and FMASK are set beside LSTAR by every kernel, but not intercepted: read, two in one call.
        Span<KvmMsrEntry> msrs = [new KvmMsrEntry(MsrStar), new KvmMsrEntry(MsrFmask)];
        vcpu.GetMsrs(msrs);
        ushort selector = (ushort)((msrs[0].Data >> 32) & 0xfffc);
        sregs.Cs = FlatSegment(selector, type: 0xb, isLong: 1);
        sregs.Ss = FlatSegment((ushort)(selector + 8), type: 3, isLong: 0);
        regs.Rip = _lstar;
        regs.Rsp = rsp;
        regs.Rflags = (rflags & ~msrs[1].Data & ~X86Flags.Resume) | X86Flags.Fixed;
        vcpu.SetSregs(sregs);
        vcpu.SetRegs(regs);
    }

    /// <summary>
    /// RF does not hold the breakpoint off on this KVM, so the handler's first instruction is single-stepped with the
    /// breakpoint away. It may be one that KVM gives up on (CLAC).
    /// </summary>
    private bool StepOverFirstInstruction()
    {
        debug.BeginStep();
        int error = vcpu.Run();
        if (error == 0)
            exits.Add((uint)vcpu.RunPage.ExitReason);
        bool passed = error == 0 && vcpu.RunPage.ExitReason switch
        {
            KvmExit.Debug => true,
            KvmExit.InternalError => completer is not null && completer.TryComplete(),
            _ => false,
        };
        debug.EndStep();
        return passed || error == -Errno.EINTR;
    }

    /// <summary>Sets the breakpoint on the handler that gate 14 of the guest's IDT names now.</summary>
    private void Arm()
    {
        vcpu.GetSregs(out var sregs);
        Span<byte> gate = stackalloc byte[16];
        if (!TryReadLinear(sregs.Idt.Base + (PageFault * 16), gate))
            return;
        bool present = (gate[5] & 0x80) != 0;
        _handler = !present ? 0 : BinaryPrimitives.ReadUInt16LittleEndian(gate)
            | (ulong)BinaryPrimitives.ReadUInt16LittleEndian(gate[6..]) << 16
            | (ulong)BinaryPrimitives.ReadUInt32LittleEndian(gate[8..]) << 32;
        if (_handler != 0)
            debug.SetRepair(_handler);
    }

    private bool TryReadStack(in KvmSregs sregs, ulong rsp, Span<byte> frame) =>
        (sregs.Cs.Selector & 3) == 0 && TryReadLinear(rsp, frame);

    /// <summary>Reads guest-linear memory page by page through KVM's own walk of the guest's tables.</summary>
    private bool TryReadLinear(ulong address, Span<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int piece = (int)Math.Min((ulong)bytes.Length, GuestMemory.PageSize - (address % GuestMemory.PageSize));
            var translation = vcpu.Translate(address);
            if (translation.Valid == 0 || !memory.TryRead(translation.PhysicalAddress, bytes[..piece]))
                return false;
            address += (ulong)piece;
            bytes = bytes[piece..];
        }

        return true;
    }

    private static ulong Word(ReadOnlySpan<byte> frame, int index) => BinaryPrimitives.ReadUInt64LittleEndian(frame[(index * 8)..]);

    private static KvmSegment FlatSegment(ushort selector, byte type, byte isLong) => new()
    {
        Selector = selector,
        Limit = uint.MaxValue,
        Type = type,
        S = 1,
        Present = 1,
        L = isLong,
        Db = (byte)(1 - isLong),
        G = 1,
    };
}
