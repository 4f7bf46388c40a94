using Kvm.X86.Engine;

namespace Kvm.Vmm.Vcpu;

/// <summary>A vCPU run by the software processor on a thread of its own.</summary>
internal sealed class SoftVcpuEngine(SoftProcessor processor, Action startTime) : SoftwareVcpu(processor)
{
    private long _returns;

    public override long TotalExits => _returns;

    public override void EnterThread()
    {
        startTime();
        StartCounting();
    }

    public override VcpuStop Run() => Answer(Processor.Run());

    public override VcpuStop Step(int vcpu) => Answer(Processor.DebugStep(wait: true));

    public override void Kick() => Processor.Kick();

    private VcpuStop Answer(SoftExit exit)
    {
        _returns++;
        if (exit == SoftExit.Kicked)
            return VcpuStop.Kicked;
        if (exit == SoftExit.Debug)
            return VcpuStop.Debug;
        var stop = Describe(Processor, exit, out string text);
        Failure = text;
        return stop;
    }
}
