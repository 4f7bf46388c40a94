using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>A processor mode a guest can start in.</summary>
internal enum CpuMode
{
    /// <summary>16-bit real mode.</summary>
    Real,

    /// <summary>32-bit protected mode with flat segments, without paging.</summary>
    Protected,
}

/// <summary>A guest of one vCPU and one page that adds two numbers in a mode below 64-bit mode.</summary>
internal sealed class ModeGuest : IDisposable
{
    private const int Code = 0x100;
    private const uint Sum = 0x1234_5678;
    private const byte DonePort = 0x80;

    private readonly HostMapping _memory;
    private readonly KvmVm _vm;
    private readonly KvmVcpu _vcpu;
    private readonly CpuMode _mode;

    public ModeGuest(KvmSystem system, CpuMode mode)
    {
        _mode = mode;
        _memory = HostMapping.Anonymous(4096);
        _vm = system.CreateVm();
        _vm.SetTssAddr(MachineLayout.KvmTss);
        _vm.SetIdentityMapAddr(MachineLayout.KvmIdentityMap);
        _vm.SetUserMemoryRegion(0, 0, 4096, _memory.Address);
        _vcpu = _vm.CreateVcpu(0);
        _vcpu.SetCpuid2(system.GetSupportedCpuid());
        Load();
    }

    /// <summary>True if the guest came to its end with the right sum.</summary>
    public bool Runs()
    {
        // A signal of the runtime may interrupt the run; one that never ends is the caller's to give up.
        int error;
        do
            error = _vcpu.Run();
        while (error == -Errno.EINTR);
        var page = _vcpu.RunPage;
        if (error != 0 || page.ExitReason != KvmExit.Io || page.Io.Port != DonePort)
            return false;
        _vcpu.GetRegs(out var registers);
        var value = _mode == CpuMode.Real ? (uint)registers.Rax & 0xffff : (uint)registers.Rax;
        return value == (_mode == CpuMode.Real ? Sum & 0xffff : Sum);
    }

    public void Dispose()
    {
        _vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    private void Load()
    {
        // add eax, ecx (add ax, cx in 16-bit mode); out DonePort, al
        ReadOnlySpan<byte> code = [0x01, 0xc8, 0xe6, DonePort];
        code.CopyTo(_memory.Span[Code..]);
        _vcpu.GetSregs(out var special);
        var real = _mode == CpuMode.Real;
        special.Cr0 = real ? 0x10u : 0x11u; // ET, PE
        special.Cs = Segment(real, code: true);
        special.Ds = special.Es = special.Ss = special.Fs = special.Gs = Segment(real, code: false);
        _vcpu.SetSregs(special);
        _vcpu.SetRegs(new KvmRegs { Rip = Code, Rax = Sum - 0x1111, Rcx = 0x1111, Rflags = 2 });
    }

    private static KvmSegment Segment(bool real, bool code) => new()
    {
        Selector = (ushort)(real ? 0 : code ? 8 : 16),
        Limit = real ? 0xffff : uint.MaxValue,
        Type = (byte)(code ? 0xb : 3),
        S = 1,
        Present = 1,
        Db = (byte)(real ? 0 : 1),
        G = (byte)(real ? 0 : 1),
    };
}
