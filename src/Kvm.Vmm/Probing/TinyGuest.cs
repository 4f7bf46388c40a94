using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Completion;

namespace Kvm.Vmm.Probing;

/// <summary>How a tiny guest's piece of code ended.</summary>
internal enum TinyOutcome
{
    /// <summary>It wrote to <see cref="TinyGuest.DonePort"/>.</summary>
    Done,

    /// <summary>KVM could not emulate an instruction.</summary>
    GaveUp,

    /// <summary>A triple fault.</summary>
    Shutdown,

    /// <summary>Something else, or it never came to its end in time.</summary>
    Other,
}

/// <summary>
/// A virtual machine of one vCPU and 2 MiB that runs a few bytes of 64-bit code and says through a port what it found:
/// what a KVM can do is best asked of it. Not thread-safe.
/// </summary>
internal sealed class TinyGuest : IDisposable
{
    /// <summary>Writing here ends a piece of code.</summary>
    public const ushort DonePort = 0x80;

    private const ulong MemorySize = 2 << 20;
    private const int PageTables = 0x1000;
    private const ulong Code = 0x8000;
    private const ulong Stack = 0x7000;

    private readonly HostMapping _memory;
    private readonly KvmVm _vm;
    private readonly KvmVcpu _vcpu;

    public TinyGuest(KvmSystem system)
    {
        _memory = HostMapping.Anonymous((nuint)MemorySize);
        _vm = system.CreateVm();
        _vm.SetTssAddr(MachineLayout.KvmTss);
        _vm.SetIdentityMapAddr(MachineLayout.KvmIdentityMap);
        _vm.SetUserMemoryRegion(0, 0, MemorySize, _memory.Address);
        _vcpu = _vm.CreateVcpu(0);
        _vcpu.SetCpuid2(system.GetSupportedCpuid());
        MapIdentity();
    }

    /// <summary>The vCPU, to set what a piece of code needs (MSRs) and to see what it left.</summary>
    public KvmVcpu Vcpu => _vcpu;

    /// <summary>The guest's two megabytes.</summary>
    public Span<byte> Memory => _memory.Span;

    /// <summary>The same as the rest of the machine sees guest memory.</summary>
    public GuestMemory GuestMemory => new([new GuestRegion(0, MemorySize, _memory.Address)]);

    /// <summary>Where code is put; the address a piece of code starts at.</summary>
    public static ulong CodeAddress => Code;

    /// <summary>Copies <paramref name="code"/> and prepares to run it from its first byte at privilege level <paramref name="cpl"/> (0 or 3).</summary>
    public void Load(ReadOnlySpan<byte> code, byte cpl = 0)
    {
        code.CopyTo(_memory.Span[(int)Code..]);
        _vcpu.GetSregs(out var sregs);
        sregs.Cs = Segment(8, cpl, type: 0xb, isLong: 1);
        sregs.Ss = sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = Segment(16, cpl, type: 3, isLong: 0);
        sregs.Cr0 = 0x8005_0033; // PG AM WP NE ET MP PE
        sregs.Cr3 = PageTables;
        sregs.Cr4 = 0x620; // PAE OSFXSR OSXMMEXCPT
        sregs.Efer = 0xd01; // NXE LMA LME SCE
        _vcpu.SetSregs(sregs);
        // I/O privilege 3: the same port ends code at either level.
        _vcpu.SetRegs(new KvmRegs { Rip = Code, Rsp = Stack, Rflags = 0x3002 });
    }

    /// <summary>Runs until the code writes to the port (its EAX is then in <paramref name="value"/>) or fails.</summary>
    /// <param name="value">What the code found.</param>
    /// <param name="completer">Completes instructions that KVM gives up on; null: they end the run.</param>
    public TinyOutcome Run(out uint value, InstructionCompleter? completer = null)
    {
        value = 0;
        int interrupted = 0;
        while (true)
        {
            int error = -_vcpu.Run();
            // The runtime's own signals interrupt a run now and then; a guest that never ends must still end here.
            if (error == Errno.EINTR && interrupted++ < 100)
                continue;
            if (error != 0)
                return TinyOutcome.Other;
            var page = _vcpu.RunPage;
            switch (page.ExitReason)
            {
                case KvmExit.Io when page.Io.Port == DonePort && page.IoData.Length is 1 or 2 or 4:
                    foreach (byte b in page.IoData.ToArray().Reverse())
                        value = value << 8 | b;
                    return TinyOutcome.Done;
                case KvmExit.InternalError when completer is not null && completer.TryComplete():
                    continue;
                case KvmExit.InternalError:
                    return TinyOutcome.GaveUp;
                case KvmExit.Shutdown:
                    return TinyOutcome.Shutdown;
                default:
                    return TinyOutcome.Other;
            }
        }
    }

    public void Dispose()
    {
        _vcpu.Dispose();
        _vm.Dispose();
        _memory.Dispose();
    }

    /// <summary>One 2 MiB page at 0, reachable from every privilege level (SDM vol. 3, 4.5).</summary>
    private void MapIdentity()
    {
        const ulong present = 1, writable = 2, user = 4, large = 1 << 7;
        var tables = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(_memory.Span);
        tables[PageTables / 8] = PageTables + 0x1000 | present | writable | user;
        tables[(PageTables + 0x1000) / 8] = PageTables + 0x2000 | present | writable | user;
        tables[(PageTables + 0x2000) / 8] = present | writable | user | large;
    }

    private static KvmSegment Segment(ushort selector, byte cpl, byte type, byte isLong) => new()
    {
        Selector = (ushort)(selector | cpl),
        Limit = uint.MaxValue,
        Type = type,
        S = 1,
        Present = 1,
        Dpl = cpl,
        L = isLong,
        Db = (byte)(1 - isLong),
        G = 1,
    };
}
