using Iced.Intel;
using Kvm.Vmm;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Reporting;
using Kvm.X86.State;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>A tiny kernel that waits for its debugger at its first instruction.</summary>
internal sealed class DebuggedMachine : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"kvmsharp-debug-{Guid.NewGuid():n}");

    public DebuggedMachine(string engine, Action<Assembler> write, Func<VmConfig, VmConfig>? change = null)
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
        Machine = VirtualMachine.Build(change?.Invoke(config) ?? config, new VmHost());
        Debugger = Machine.Debugger;
        Machine.Start();
        Stopped().Reason.Should().Be(DebugStopReason.Requested);
    }

    public VirtualMachine Machine { get; }

    public MachineDebugger Debugger { get; }

    /// <summary>The state of a vCPU.</summary>
    public ArchitecturalState State(int vcpu = 0)
    {
        var state = new ArchitecturalState();
        Debugger.ReadState(vcpu, state);
        return state;
    }

    /// <summary>Waits until the machine stands still or has ended.</summary>
    public DebugStop Stopped()
    {
        Debugger.TryWait(TimeSpan.FromSeconds(60), out var stop).Should().BeTrue();
        return stop;
    }

    /// <summary>Lets it run to its end.</summary>
    public RunResult End()
    {
        Debugger.Clear();
        Debugger.Continue().Should().BeNull();
        Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        return Machine.Ended.Result;
    }

    public void Dispose()
    {
        Machine.Dispose();
        File.Delete(_path);
    }
}
