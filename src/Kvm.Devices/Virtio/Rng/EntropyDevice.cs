using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Rng;

/// <summary>A virtio entropy device (virtio 1.2, 5.4): fills buffers with random bytes.</summary>
/// <param name="name">The state's name, such as <c>rng0</c>.</param>
/// <param name="memory">Guest memory.</param>
/// <param name="source">Where the bytes come from.</param>
public sealed class EntropyDevice(string name, GuestMemory memory, IEntropySource source)
    : VirtioDevice(name, VirtioDeviceType.Entropy, memory, 0, [QueueSize], 0)
{
    /// <summary>The most entries of the queue.</summary>
    public const int QueueSize = 64;

    /// <summary>The most bytes for one buffer; a longer one is used with so many, as 5.4.6.2 allows, so that no guest makes a request long.</summary>
    public const int MostBytes = 64 << 10;

    private long _bytes;

    /// <summary>Random bytes given so far.</summary>
    public long BytesGiven => Volatile.Read(ref _bytes);

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        int filled = 0;
        // What follows an element outside memory is not filled: the length counts from the front without gaps.
        while (!chain.HasBadBuffer && filled < MostBytes && chain.TryWritePiece(MostBytes - filled, out var piece))
        {
            source.Fill(piece.Span);
            filled += piece.Length;
        }

        Volatile.Write(ref _bytes, _bytes + filled);
        queue.Complete(chain.Token, (uint)filled);
        return ChainResult.Taken;
    }
}
