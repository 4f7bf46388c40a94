namespace Kvm.Devices.Virtio.Rng;

/// <summary>Where random bytes come from: the host's generator. Safe from any thread; never fails and never blocks for long.</summary>
public interface IEntropySource
{
    /// <summary>Fills all of a buffer, which may be guest memory itself.</summary>
    void Fill(Span<byte> buffer);
}
