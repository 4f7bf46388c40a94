using Kvm.Vmm.Boot;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Vcpu;

/// <summary>The first vCPU of a deterministic machine: its thread runs all of them in turn.</summary>
internal sealed class DeterministicVcpuEngine(DeterministicEngine engine, SoftProcessor processor) : SoftwareVcpu(processor)
{
    private int _stopped;

    /// <summary>What the host did meanwhile is left out: two runs tell the same.</summary>
    public override long TotalExits => (long)Processor.Halts;

    public override (int Vcpu, DebugHit Hit) Hit => (_stopped, engine.Processors[_stopped].Hit);

    public override void EnterThread()
    {
        _ = engine.Runner;
        StartCounting();
    }

    public override VcpuStop Run()
    {
        while (true)
        {
            var exit = engine.Runner.Run(out int stopped);
            if (exit != SoftExit.Limit)
                return Answer(exit, stopped);
            engine.History!.Mark();
        }
    }

    public override VcpuStop Step(int vcpu)
    {
        while (true)
        {
            var exit = engine.Runner.Step(vcpu, out int stopped);
            if (exit != SoftExit.Limit)
                return Answer(exit, stopped);
            engine.History!.Mark();
        }
    }

    private VcpuStop Answer(SoftExit exit, int stopped)
    {
        if (exit == SoftExit.Kicked)
            return VcpuStop.Kicked;
        _stopped = Math.Max(stopped, 0);
        if (exit == SoftExit.Debug)
            return VcpuStop.Debug;
        if (exit == SoftExit.Halted)
            return VcpuStop.Halted;
        var stop = Describe(engine.Processors[stopped], exit, out string text);
        Failure = stopped == 0 ? text : $"vcpu{stopped}: {text}";
        return stop;
    }

    public override void Kick() => engine.Runner.Kick();

    public override bool IsStuck()
    {
        foreach (var one in engine.Processors)
        {
            if (!one.IsStuck)
                return false;
        }

        return true;
    }
}

/// <summary>Another vCPU of a deterministic machine: its thread only waits for the end, and counts nothing.</summary>
internal sealed class PassiveVcpuEngine(SoftProcessor processor) : SoftwareVcpu(processor)
{
    private readonly AutoResetEvent _kicked = new(false);

    public override long TotalExits => (long)Processor.Halts;

    public override bool RunsOnOwnThread => false;

    /// <summary>Only the first vCPU is a boot processor.</summary>
    public override void SetBootState(BootState state) => throw new InvalidOperationException("an application processor starts by INIT and SIPI");

    public override void EnterThread()
    {
    }

    public override VcpuStop Run()
    {
        _kicked.WaitOne();
        return VcpuStop.Kicked;
    }

    /// <summary>The first vCPU's thread steps all.</summary>
    public override VcpuStop Step(int vcpu) => Run();

    public override void Kick() => _kicked.Set();

    /// <summary>The first vCPU answers for all.</summary>
    public override bool IsStuck() => true;

    public override void Dispose()
    {
        base.Dispose();
        _kicked.Dispose();
    }
}
