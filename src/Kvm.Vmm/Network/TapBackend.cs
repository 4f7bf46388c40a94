using System.Runtime.InteropServices;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;

namespace Kvm.Vmm.Network;

/// <summary>
/// A cable to the host's kernel: a TAP interface, one queue of it for each pair. Frames go straight between the guest's memory and the kernel on their way
/// out; checksums and segments are left to whoever they reach. Allocates nothing for a frame.
/// </summary>
internal sealed class TapBackend : IWatchedBackend
{
    // TUN_F_*: USO came with Linux 6.2, and a kernel refuses all where it does not know one.
    private const NetOffloads Classic = NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn;
    private const int FrameBytes = NetHeader.Size + NetHeader.MaxFrame;

    private readonly TapQueue[] _queues;
    private readonly AlignedBuffer[] _frames;
    private readonly int[] _lengths;
    private readonly bool[] _attached;
    private INetworkListener? _listener;
    private bool _isGone;

    /// <summary>Takes over the queues of one interface.</summary>
    public TapBackend(IReadOnlyList<TapQueue> queues)
    {
        _queues = [.. queues];
        _frames = [.. queues.Select(_ => new AlignedBuffer(FrameBytes, 64))];
        _lengths = new int[_queues.Length];
        _attached = [.. queues.Select(_ => true)];
        if (_queues[0].HasHeader)
            SendOffloads = ReceiveOffloads = _queues[0].SetOffloads((uint)NetOffloads.Modern) == 0 ? NetOffloads.Modern : Classic;
        // Until a driver says what it takes, and the other queues until it wants them.
        Configure(NetOffloads.None, 1);
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads { get; }

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads { get; }

    /// <inheritdoc/>
    public int MaxPairs => _queues.Length;

    /// <summary>The descriptor of a queue pair.</summary>
    public int DescriptorOf(int pair) => _queues[pair].Handle.Fd;

    /// <inheritdoc/>
    /// <remarks>Never for room: the kernel takes every frame, or drops it.</remarks>
    public void WatchBy(int pair, IDescriptorWait wait) => wait.Add(DescriptorOf(pair));

    /// <inheritdoc/>
    public void Connect(INetworkListener listener) => _listener = listener;

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
        for (int i = 0; i < _queues.Length; i++)
        {
            // A queue that is not attached takes no settings.
            if (_attached[i] != i < pairs && _queues[i].IsMultiQueue && _queues[i].SetAttached(i < pairs) == 0)
                _attached[i] = i < pairs;
            if (_queues[i].HasHeader && _attached[i])
                _queues[i].SetOffloads((uint)receive);
        }
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        var queue = _queues[pair];
        int sent;
        if (queue.HasHeader)
        {
            // A HostBuffer is laid out as struct iovec.
            sent = queue.Write(MemoryMarshal.Cast<HostBuffer, IoVector>(frame));
        }
        else
        {
            Span<HostBuffer> bare = stackalloc HostBuffer[Math.Min(frame.Length, MostPieces)];
            if (bare.Length != frame.Length)
                return SendOutcome.Dropped;
            frame.CopyTo(bare);
            bare[0] = bare[0].Slice(NetHeader.Size);
            sent = queue.Write(MemoryMarshal.Cast<HostBuffer, IoVector>(bare));
        }

        if (sent >= 0)
            return SendOutcome.Sent;
        LookWhetherGone(sent);
        return SendOutcome.Dropped;
    }

    // Without offloads a frame has a packet's length, which no driver cuts into more.
    private const int MostPieces = 64;

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        var place = _frames[pair].Buffer;
        if (_lengths[pair] == 0)
        {
            var queue = _queues[pair];
            int skip = queue.HasHeader ? 0 : NetHeader.Size;
            int count = queue.Read(place.Address + skip, FrameBytes - skip);
            if (count <= 0)
            {
                LookWhetherGone(count);
                return default;
            }

            _lengths[pair] = skip + count;
        }

        return place.Span[.._lengths[pair]];
    }

    /// <inheritdoc/>
    public void Take(int pair) => _lengths[pair] = 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var queue in _queues)
            queue.Dispose();
        foreach (var frame in _frames)
            frame.Dispose();
    }

    /// <summary>An interface that somebody deleted is a cable that was pulled out.</summary>
    private void LookWhetherGone(int result)
    {
        if (result != -Errno.EBADFD || Interlocked.Exchange(ref _isGone, true))
            return;
        _listener?.LinkChanged(false);
    }
}
