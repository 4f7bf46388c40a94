using System.Buffers.Binary;
using Iced.Intel;
using Kvm.Vmm;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

/// <summary>A machine of a few instructions, looked at from outside while it stands still.</summary>
internal sealed class BareGuest : IDisposable
{
    /// <summary>Where guests count.</summary>
    public const uint Counter = 0x20_0000;

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"kvmsharp-life-{Guid.NewGuid():n}");

    public BareGuest(string engine, Action<Assembler> write, Func<VmConfig, VmConfig>? change = null)
    {
        if (engine == "kvm")
            TinyMachine.RequireKvm();
        File.WriteAllBytes(_path, TinyKernel.Assemble(write));
        var config = new VmConfig
        {
            KernelPath = _path,
            MemoryBytes = 16 << 20,
            Engine = engine == "kvm" ? EngineChoice.Kvm : EngineChoice.Soft,
            Deterministic = engine == "deterministic",
            Timeout = TimeSpan.FromMinutes(2),
        };
        Config = change?.Invoke(config) ?? config;
        Machine = VirtualMachine.Build(Config, new VmHost());
    }

    public VmConfig Config { get; }

    public VirtualMachine Machine { get; }

    /// <summary>Counts for ever.</summary>
    public static void Count(Assembler a)
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(__dword_ptr[Counter]);
        a.jmp(again);
    }

    /// <summary>Counts until somebody writes 1 behind the counter; then ends by the debug-exit port with 7.</summary>
    public static void CountUntilTold(Assembler a)
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(__dword_ptr[Counter]);
        a.cmp(__dword_ptr[Counter + 4], 1);
        a.jne(again);
        a.DebugExit(7);
    }

    public uint Read(uint address) => Read(Machine, address);

    public static uint Read(VirtualMachine machine, uint address)
    {
        Span<byte> bytes = stackalloc byte[4];
        machine.Memory.TryRead(address, bytes).Should().BeTrue();
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public void WaitUntilAbove(uint count) => WaitUntilAbove(Machine, count);

    public static void WaitUntilAbove(VirtualMachine machine, uint count) =>
        SpinWait.SpinUntil(() => Read(machine, Counter) > count, TimeSpan.FromSeconds(60)).Should().BeTrue("the guest counts on");

    /// <summary>A vCPU's time stamp counter, of a machine that stands still.</summary>
    public ulong Tsc(int vcpu = 0)
    {
        var state = new ArchitecturalState();
        Machine.Vcpus[vcpu].Engine.Save(state);
        return state.Msr.Tsc;
    }

    public void Dispose()
    {
        Machine.Dispose();
        File.Delete(_path);
    }
}
