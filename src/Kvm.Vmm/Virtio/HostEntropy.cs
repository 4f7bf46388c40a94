using Kvm.Devices.Virtio.Rng;
using Kvm.Interop;

namespace Kvm.Vmm.Virtio;

/// <summary>The host kernel's random numbers.</summary>
internal sealed class HostEntropy : IEntropySource
{
    /// <inheritdoc/>
    public void Fill(Span<byte> buffer) => HostRandom.Fill(buffer);
}

/// <summary>Numbers that follow from a seed, for runs that are to repeat; a secret in no way. Used by the one thread of such a run.</summary>
internal sealed class SeededEntropy(ulong seed) : IEntropySource
{
    // The generator of a Random with a seed never changes between versions.
    private readonly Random _random = new(unchecked((int)(seed ^ seed >> 32)));

    /// <inheritdoc/>
    public void Fill(Span<byte> buffer) => _random.NextBytes(buffer);
}
