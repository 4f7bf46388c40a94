using System.Buffers;

namespace Kvm.Vmm.Control;

/// <summary>The guest that is asked, for <see cref="IControlRequest"/>.</summary>
public sealed class ControlTarget
{
    private readonly RipSampler _sampler;

    internal ControlTarget(VirtualMachine machine)
    {
        Machine = machine;
        _sampler = new RipSampler(machine.Vcpus);
    }

    /// <summary>The machine.</summary>
    public VirtualMachine Machine { get; }

    /// <summary>Asks the vCPUs where they are, or forgets where they were.</summary>
    internal void Sample(bool anybodyListens)
    {
        if (anybodyListens)
            _sampler.Tick();
        else
            _sampler.Clear();
    }

    /// <summary>Statistics so far, a line of JSON.</summary>
    internal void WriteStatistics(IBufferWriter<byte> to) => StatisticsJson.Write(to, Machine, _sampler);
}
