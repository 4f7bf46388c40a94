namespace Kvm.Interop.Tests;

/// <summary>A VM with one vCPU in real mode at 0x1000 and 64 KiB of memory, running the bytes it is given.</summary>
internal sealed class TinyGuest : IDisposable
{
    public const ushort Origin = 0x1000;

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
        Memory = HostMapping.Anonymous(0x10000);
        code.CopyTo(Memory.Span[Origin..]);
        Vm.SetUserMemoryRegion(0, 0, 0x10000, Memory.Address, flags);
        Vcpu = Vm.CreateVcpu(0);
        Vcpu.GetSregs(out KvmSregs sregs);
        sregs.Cs.Base = 0;
        sregs.Cs.Selector = 0;
        Vcpu.SetSregs(in sregs);
        KvmRegs regs = new() { Rip = Origin, Rflags = 2, Rsp = 0x8000 };
        Vcpu.SetRegs(in regs);
    }

    public KvmSystem System { get; }

    public KvmVm Vm { get; }

    public KvmVcpu Vcpu { get; }

    public HostMapping Memory { get; }

    public KvmRunPage Page => Vcpu.RunPage;

    /// <summary>Runs until something other than an interrupted call comes back.</summary>
    public KvmExit Run()
    {
        int result;
        do
        {
            result = Vcpu.Run();
        }
        while (result == -Errno.EINTR);

        result.Should().Be(0, "KVM_RUN should succeed, not fail with {0}", Errno.NameOf(-result));
        return Page.ExitReason;
    }

    public void Dispose()
    {
        Vcpu.Dispose();
        Vm.Dispose();
        System.Dispose();
        Memory.Dispose();
    }
}
