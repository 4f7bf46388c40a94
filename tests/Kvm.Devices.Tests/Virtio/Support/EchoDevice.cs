using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>A device that gives back what it is sent; its configuration is eight bytes, of which the driver may write the last four.</summary>
internal sealed class EchoDevice : VirtioDevice
{
    public const ulong Shout = 1, NeedsShout = 2;

    private int _echoed;

    public EchoDevice(GuestMemory memory, int queues = 2, int queueSize = 8)
        : base("echo0", VirtioDeviceType.Entropy, memory, Shout | NeedsShout, Enumerable.Repeat(queueSize, queues).ToArray(), 8) =>
        SetConfig(0, [1, 2, 3, 4, 5, 6, 7, 8]);

    /// <summary>Called in the middle of a request, under the queue's gate.</summary>
    public Action? InTheMiddle { get; set; }

    /// <summary>Chains that are not to be taken now.</summary>
    public bool Throttled { get; set; }

    public int Echoed => _echoed;

    public int Activations { get; private set; }

    public int Resets { get; private set; }

    public void ChangeConfig(byte value)
    {
        SetConfig(0, [value]);
        SignalConfig();
    }

    /// <summary>True while somebody waits for the queue to be left.</summary>
    public bool IsStopping => QueueAt(0).IsStopRequested;

    public void WakeUp() => WakeQueue(0);

    protected override bool CanAccept(ulong features) =>
        base.CanAccept(features) && ((features & NeedsShout) == 0 || (features & Shout) != 0);

    protected override void OnActivate() => Activations++;

    protected override void OnReset() => Resets++;

    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
        if (offset >= 4)
            SetConfig(offset, data);
    }

    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        if (Throttled)
            return ChainResult.Later;
        uint written = 0;
        while (chain.TryReadPiece(16, out var piece))
            written += (uint)chain.Write(piece.Span);
        InTheMiddle?.Invoke();
        queue.Complete(chain.Token, written);
        _echoed++;
        return ChainResult.Taken;
    }

    protected override void SaveDevice(StateWriter writer) => writer.U32((uint)_echoed);

    protected override bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features)
    {
        uint echoed = reader.U32();
        if (!reader.Complete || echoed > 1_000_000)
            return false;
        _echoed = (int)echoed;
        return true;
    }
}
