using Kvm.X86.Engine;

namespace Kvm.Vmm.Vcpu;

/// <summary>What a debugger asks of an engine for one vCPU; all of it while the vCPU does not run, from whichever thread holds it.</summary>
internal interface IVcpuDebug
{
    /// <summary>Why this engine cannot stop at a point, for people; null where it can.</summary>
    string? WhyNot(in DebugPoint point);

    /// <summary>Why the next instruction cannot be stepped, for people; null where it can.</summary>
    string? WhyNoStep();

    /// <summary>Replaces the points that end <see cref="IVcpuEngine.Run"/> by <see cref="VcpuStop.Debug"/>; none by default.</summary>
    void SetDebugPoints(IReadOnlyList<DebugPoint> points);

    /// <summary>
    /// Makes one step: one instruction, or the delivery of one exception or interrupt. <see cref="VcpuStop.Debug"/> when it is made. On
    /// the vCPU's thread.
    /// </summary>
    /// <param name="vcpu">Its number; where one thread runs all vCPUs, whose step is wanted.</param>
    VcpuStop Step(int vcpu);

    /// <summary>After <see cref="VcpuStop.Debug"/>: which vCPU stopped, and why.</summary>
    (int Vcpu, DebugHit Hit) Hit { get; }
}
