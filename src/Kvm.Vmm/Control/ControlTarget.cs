using System.Buffers;

namespace Kvm.Vmm.Control;

/// <summary>The guest that is asked, for <see cref="IControlRequest"/>.</summary>
public sealed class ControlTarget
{
    private readonly VirtualMachine? _machine;
    private readonly RipSampler _sampler;

    internal ControlTarget(VirtualMachine? machine)
    {
        _machine = machine;
        _sampler = new RipSampler(machine?.Vcpus ?? []);
    }

    /// <summary>The machine.</summary>
    /// <exception cref="InvalidOperationException">The socket is a process's, not a machine's.</exception>
    public VirtualMachine Machine => _machine ?? throw new InvalidOperationException("there is no machine at this socket");

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
