namespace Kvm.Interop.Tests;

/// <summary>
/// A VM with one vCPU in real mode at 0x1000 and 64 KiB of memory, running the bytes it is given. A guest that does not come back within
/// ten seconds is kicked, and the test fails instead of hanging.
/// </summary>
internal sealed class TinyGuest : IDisposable
{
    public const ushort Origin = 0x1000;
    public const uint MemorySize = 0x10000;

    private readonly int _thread;
    private readonly Timer _watchdog;
    private volatile bool _late;

    public TinyGuest(ReadOnlySpan<byte> code, bool irqchip = false, Action<KvmVm>? beforeVcpu = null, KvmMemoryFlags flags = KvmMemoryFlags.None)
    {
        System = RealKvm.Open();
        Vm = System.CreateVm();
        Vm.SetTssAddr(0xfffbd000);
        Vm.SetIdentityMapAddr(0xfffbc000);
        if (irqchip)
        {
            Vm.CreateIrqChip();
        }

        beforeVcpu?.Invoke(Vm);
        Memory = HostMapping.Anonymous(MemorySize);
        code.CopyTo(Memory.Span[Origin..]);
        Vm.SetUserMemoryRegion(0, 0, MemorySize, Memory.Address, flags);
        Vcpu = Vm.CreateVcpu(0);
        Vcpu.GetSregs(out KvmSregs sregs);
        sregs.Cs.Base = 0;
        sregs.Cs.Selector = 0;
        Vcpu.SetSregs(in sregs);
        KvmRegs regs = new() { Rip = Origin, Rflags = 2, Rsp = 0x8000 };
        Vcpu.SetRegs(in regs);
        _thread = ThreadSignals.CurrentThreadId();
        ThreadSignals.PrepareVcpuThread(Vcpu);
        _watchdog = new Timer(
            _ =>
            {
                _late = true;
                Page.ImmediateExit = true;
                ThreadSignals.Kick(_thread);
            },
            null,
            TimeSpan.FromSeconds(60),
            Timeout.InfiniteTimeSpan);
    }

    public KvmSystem System { get; }

    public KvmVm Vm { get; }

    public KvmVcpu Vcpu { get; }

    public HostMapping Memory { get; }

    public KvmRunPage Page => Vcpu.RunPage;

    public KvmRegs Regs
    {
        get
        {
            Vcpu.GetRegs(out KvmRegs regs);
            return regs;
        }
    }

    /// <summary>Puts the vCPU into 32-bit protected mode with flat segments of 4 GiB, no paging and no interrupt table.</summary>
    public void EnterFlatMode()
    {
        Vcpu.GetSregs(out KvmSregs sregs);
        sregs.Cr0 |= 1;
        KvmSegment flat = new() { Base = 0, Limit = uint.MaxValue, Present = 1, S = 1, G = 1, Db = 1 };
        sregs.Cs = flat with { Selector = 0x08, Type = 11 };
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = flat with { Selector = 0x10, Type = 3 };
        sregs.Idt.Limit = 0;
        Vcpu.SetSregs(in sregs);
    }

    /// <summary>Runs until something other than an interrupted call comes back.</summary>
    public KvmExit Run()
    {
        int result;
        do
        {
            result = Vcpu.Run();
            _late.Should().BeFalse("the guest should end its run within a minute, on the busiest machine");
        }
        while (result == -Errno.EINTR);

        result.Should().Be(0, "KVM_RUN should succeed, not fail with {0}", Errno.NameOf(-result));
        return Page.ExitReason;
    }

    /// <summary>Runs and expects the guest to write a byte to a port; returns the byte.</summary>
    public byte RunToOut(ushort port)
    {
        Run().Should().Be(KvmExit.Io);
        Page.Io.Port.Should().Be(port);
        Page.Io.Direction.Should().Be(KvmConst.KVM_EXIT_IO_OUT);
        return Page.IoData[0];
    }

    public void Dispose()
    {
        using (ManualResetEvent stopped = new(false))
        {
            // No kick may reach this thread, or another one that got its number, once the guest is gone.
            if (_watchdog.Dispose(stopped))
            {
                stopped.WaitOne();
            }
        }

        ThreadSignals.Drain();
        Vcpu.Dispose();
        Vm.Dispose();
        System.Dispose();
        Memory.Dispose();
    }
}
