using Iced.Intel;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Vcpu;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>The seam between machine and engine: what one engine saves the other goes on from, and both deliver what is injected.</summary>
public class SeamTests
{
    private const uint Code = 0x1000, Nmi = 0x3000, Breakpoint = 0x3100, Idt = 0x4000, Gdt = 0x5000, Stack = 0x8000;
    private const ushort Tell = 0x90;

    [SkippableTheory]
    [InlineData("kvm", "soft")]
    [InlineData("soft", "kvm")]
    [InlineData("kvm", "kvm")]
    [InlineData("soft", "soft")]
    public void A_state_saved_in_one_engine_goes_on_in_the_other(string first, string second)
    {
        using var memory = Guest();
        var state = new ArchitecturalState();
        using (var from = new Rig(first, memory))
        {
            from.RunUntilTold().Should().Be(1);
            from.Vcpu.Save(state);
        }

        state.Gpr[1].Should().Be(5, "ECX counts from here");
        using var to = new Rig(second, memory);
        to.Vcpu.Restore(state);
        to.RunUntilTold().Should().Be(6, "EAX was 1 and 5 was added");
        var after = new ArchitecturalState();
        to.Vcpu.Save(after);
        after.Extended.AsSpan(160, 4).ToArray().Should().Equal(state.Extended.AsSpan(160, 4).ToArray(), "XMM0 came along");
        BitConverter.ToUInt32(after.Extended, 160).Should().Be(0x1234);
    }

    [SkippableTheory]
    [InlineData("kvm")]
    [InlineData("soft")]
    public void An_injected_exception_and_an_NMI_reach_their_handlers(string engine)
    {
        using var memory = Guest();
        using var rig = new Rig(engine, memory);
        rig.RunUntilTold().Should().Be(1);

        rig.Vcpu.Inject(3, errorCode: null);
        rig.RunUntilTold().Should().Be(0xb9, "the breakpoint's handler told");
        rig.Vcpu.InjectNmi();
        rig.RunUntilTold().Should().Be(0x22, "the NMI's handler told");
    }

    /// <summary>Tells 1, adds 5 in a loop of single steps, tells the sum; handlers tell who they are.</summary>
    private static HostMemory Guest()
    {
        var memory = new HostMemory();
        Assemble(memory, Code, a =>
        {
            var again = a.CreateLabel();
            a.mov(esp, Stack);
            a.mov(__word_ptr[Gdt], 4 * 8 - 1); // the null descriptor's place holds IDTR
            a.mov(__dword_ptr[Gdt + 2], Idt);
            a.lidt(__[Gdt]);
            a.mov(eax, 0x1234);
            a.movd(xmm0, eax);
            a.mov(ecx, 5);
            a.mov(eax, 1);
            a.@out((byte)Tell, eax);
            a.Label(ref again);
            a.inc(eax);
            a.dec(ecx);
            a.jne(again);
            a.@out((byte)Tell, eax);
            a.hlt();
        });
        Assemble(memory, Nmi, a => { a.mov(eax, 0x22); a.@out((byte)Tell, eax); a.hlt(); });
        Assemble(memory, Breakpoint, a => { a.mov(eax, 0xb9); a.@out((byte)Tell, eax); a.hlt(); });
        Gate(memory, 2, Nmi);
        Gate(memory, 3, Breakpoint);
        memory.Guest.TryWrite(Gdt + 0x10, 0x00cf_9b00_0000_ffffUL).Should().BeTrue();
        memory.Guest.TryWrite(Gdt + 0x18, 0x00cf_9300_0000_ffffUL).Should().BeTrue();
        return memory;
    }

    private static void Assemble(HostMemory memory, uint at, Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), at);
        memory.Guest.TryWrite(at, code.ToArray()).Should().BeTrue();
    }

    private static void Gate(HostMemory memory, uint vector, uint handler) =>
        memory.Guest.TryWrite(Idt + (vector * 8), (handler & 0xffff) | ((ulong)BootState.CodeSelector << 16) | (0x8e00UL << 32)).Should().BeTrue();

    /// <summary>Memory of one guest, which outlives the engine that ran it.</summary>
    private sealed class HostMemory : IDisposable
    {
        private readonly HostMapping _mapping = HostMapping.Anonymous(1 << 20);

        public HostMemory() => Guest = new GuestMemory([new GuestRegion(0, _mapping.Length, _mapping.Address)]);

        public GuestMemory Guest { get; }

        public void Dispose() => _mapping.Dispose();
    }

    /// <summary>One vCPU of one engine, and a port that tells what the guest wrote and makes the engine come back.</summary>
    private sealed class Rig : IBusDevice, IDisposable
    {
        private readonly IEngine _engine;
        private uint _told;

        public Rig(string engine, HostMemory memory)
        {
            var ports = new IoBus();
            var mmio = new IoBus();
            var config = new VmConfig { KernelPath = "", MemoryBytes = 1 << 20 };
            if (engine == "kvm")
            {
                TinyMachine.RequireKvm();
                KvmSystem.TryOpen("/dev/kvm", out var system).Should().Be(0);
                _engine = new KvmEngine(system!, config, HostProber.Probe(system!), memory.Guest, ports, mmio, TimeProvider.System);
            }
            else
            {
                _engine = new SoftEngine(config, memory.Guest, ports, mmio, TimeProvider.System);
            }

            ports.Add(Tell, 4, this);
            Vcpu = _engine.CreateVcpu(0);
            Vcpu.SetBootState(BootState.Pvh32(Code) with { GdtBase = Gdt, Cr4 = 0x600 }); // OSFXSR, OSXMMEXCPT
            Vcpu.EnterThread();
        }

        public IVcpuEngine Vcpu { get; }

        public string Name => "tell";

        public uint RunUntilTold()
        {
            _told = 0;
            // The runtime's own signals end a run too, which an engine's thread takes as a kick without a request.
            for (int runs = 0; _told == 0 && runs < 1000; runs++)
                Vcpu.Run().Should().Be(VcpuStop.Kicked, Vcpu.Failure);
            return _told;
        }

        public void Read(ulong offset, Span<byte> data) => data.Clear();

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            _told = BitConverter.ToUInt32(data);
            Vcpu.Kick();
        }

        public void Dispose()
        {
            Vcpu.Dispose();
            _engine.Dispose();
        }
    }
}
