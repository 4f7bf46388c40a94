using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>
/// The device's end of a virtqueue (virtio 1.2, 2.6), split or packed as the driver chose. A device takes chains until there are none,
/// completes each in any order, publishes them all at once and is then told whether to interrupt the driver.
/// </summary>
/// <remarks>
/// Not thread-safe: whoever processes, starts or stops a queue holds <see cref="Gate"/>. Nothing a driver does throws; what cannot be
/// borne sets <see cref="Fault"/>, after which the queue takes nothing more until it is started again. Nothing is allocated after construction.
/// </remarks>
public sealed class VirtQueue
{
    private readonly GuestMemory _memory;
    private readonly ChainBuilder _chain;
    private readonly SplitRing _split = new();
    private readonly PackedRing _packed;
    private readonly ulong[] _inFlight;
    private readonly int _maxSize;
    private VirtRing _ring;
    private uint _epoch;
    private int _inFlightCount;
    private int _lastPopped;
    private QueueSetup _setup;
    private volatile bool _running;
    private volatile bool _stopRequested;

    /// <summary>Makes a stopped queue.</summary>
    /// <param name="memory">Where rings and buffers are.</param>
    /// <param name="maxSize">The most entries, a power of two from 1 to 32,768.</param>
    public VirtQueue(GuestMemory memory, int maxSize)
    {
        ArgumentNullException.ThrowIfNull(memory);
        if (maxSize is < 1 or > SplitRing.MaxSize || !int.IsPow2(maxSize))
            throw new ArgumentOutOfRangeException(nameof(maxSize), maxSize, "a power of two from 1 to 32768");
        (_memory, _maxSize) = (memory, maxSize);
        _chain = new ChainBuilder(memory, maxSize);
        _packed = new PackedRing(maxSize);
        _inFlight = new ulong[(maxSize + 63) / 64];
        _ring = _split;
    }

    /// <summary>Held by whoever processes, starts or stops the queue. No other lock is taken under it but those of interrupt lines.</summary>
    public Lock Gate { get; } = new();

    /// <summary>The most entries it can have.</summary>
    public int MaxSize => _maxSize;

    /// <summary>Entries it has now; 0 before the first start.</summary>
    public int Size => _setup.Size;

    /// <summary>True between a start and a stop.</summary>
    public bool IsRunning => _running;

    /// <summary>Why the queue takes no more chains.</summary>
    public QueueFault Fault { get; private set; }

    /// <summary>Chains taken and not yet completed.</summary>
    public int InFlight => _inFlightCount;

    /// <summary>Chains taken since construction.</summary>
    public long Popped { get; private set; }

    /// <summary>Starts the queue where the driver put it.</summary>
    /// <param name="setup">Place and form; guest-chosen.</param>
    /// <param name="position">Where to go on; null is the start of a new ring.</param>
    /// <returns>False, with <see cref="Fault"/> set, if the ring cannot be there; true also if it runs already.</returns>
    public bool Start(in QueueSetup setup, QueuePosition? position = null)
    {
        if (_running)
            return true;
        VirtRing ring = setup.Packed ? _packed : _split;
        if (setup.Size > _maxSize || !ring.TryStart(_memory, in setup, position ?? QueuePosition.Start(setup.Packed)))
        {
            Fault = QueueFault.BadSetup;
            return false;
        }

        (_ring, _setup, Fault) = (ring, setup, QueueFault.None);
        _chain.Configure(setup.Size, setup.Indirect);
        Forget();
        (_stopRequested, IsPolled, _running) = (false, false, true);
        return true;
    }

    /// <summary>
    /// Stops the queue and says where it would go on. Chains in flight are forgotten and their completion does nothing: a device that
    /// wants to go on later finishes or puts back what it took before. Stopping a stopped queue gives the same again.
    /// </summary>
    public QueuePosition Stop()
    {
        _running = false;
        Forget();
        return _ring.Position;
    }

    /// <summary>Makes whoever processes the queue take nothing more, so that the gate becomes free soon. Any thread, without the gate.</summary>
    public void RequestStop() => _stopRequested = true;

    /// <summary>True from <see cref="RequestStop"/> until it is taken back or the queue is started.</summary>
    public bool IsStopRequested => _stopRequested;

    /// <summary>Takes a <see cref="RequestStop"/> back.</summary>
    public void CancelStopRequest() => _stopRequested = false;

    /// <summary>
    /// Takes the next chain. False if there is none, if the queue is stopped or asked to stop, or if the driver broke the ring
    /// (<see cref="Fault"/>). What it reads of the ring is read once.
    /// </summary>
    public bool TryPop(out DescriptorChain chain)
    {
        chain = default;
        if (!_running || _stopRequested || Fault != QueueFault.None || !_ring.HasAvailable(out var fault))
            return false;
        ushort head = 0;
        _chain.Clear();
        if (fault == QueueFault.None)
            fault = _ring.Read(_chain, out head);
        if (fault == QueueFault.None && IsInFlight(head))
            fault = QueueFault.HeadInFlight;
        if (fault != QueueFault.None)
        {
            Fault = fault;
            return false;
        }

        _ring.Advance(head);
        _inFlight[head >> 6] |= 1UL << (head & 63);
        _inFlightCount++;
        Popped++;
        _lastPopped = head;
        chain = new DescriptorChain(new ChainToken(head, _epoch), _chain.Readable, _chain.Writable, _chain.HasBadBuffer);
        return true;
    }

    /// <summary>Gives the chain that was taken last back untouched, to be taken again later (no room, no tokens left).</summary>
    public void PutBack(ChainToken token)
    {
        if (!Release(token))
            return;
        _ring.Retreat(token.Head);
        Popped--;
    }

    /// <summary>Marks a chain used. The driver sees it after <see cref="Publish"/>.</summary>
    /// <param name="token">The chain.</param>
    /// <param name="written">Bytes written to the front of its device-writable part; rather too few than too many (2.7.8.2).</param>
    /// <returns>False if the queue was reset meanwhile, or the chain is not in flight: nothing was done.</returns>
    public bool Complete(ChainToken token, uint written)
    {
        if (!Release(token))
            return false;
        // Of a chain that was not the last one taken nobody knows any more where it was: its device says itself what it wrote.
        if (token.Head == _lastPopped)
            _chain.NotifyWritten();
        _ring.Use(token.Head, written);
        return true;
    }

    /// <summary>Shows the driver all completed chains at once.</summary>
    /// <returns>True if the driver wants to be interrupted for them; false also if there are none.</returns>
    public bool Publish() => _running && _ring.Publish();

    /// <summary>True while the device looks at the queue again and again by itself: notifications then stay off. A start ends it.</summary>
    public bool IsPolled { get; set; }

    /// <summary>True if a chain, or a fault of the ring, is there to be taken. What it reads of the ring is one number.</summary>
    public bool HasAvailable => _running && !_stopRequested && Fault == QueueFault.None && _ring.HasAvailable(out _);

    /// <summary>Advises the driver not to notify: the device looks by itself.</summary>
    public void DisableNotifications()
    {
        if (_running)
            _ring.DisableNotifications();
    }

    /// <summary>Asks the driver to notify again, unless the queue <see cref="IsPolled"/>.</summary>
    /// <returns>True if chains came in meanwhile, for which no notification need come: the device goes on.</returns>
    public bool EnableNotifications()
    {
        if (!_running || Fault != QueueFault.None)
            return false;
        if (!IsPolled)
            _ring.EnableNotifications();
        // One that was asked to stop gives nothing, however much there is: whoever lets it go on looks again.
        return !_stopRequested && _ring.HasAvailable(out _);
    }

    /// <summary>How far it has come; with nothing in flight the place to go on.</summary>
    public QueuePosition Position => _ring.Position;

    /// <summary>Writes what is needed to go on elsewhere. Nothing may be in flight.</summary>
    /// <exception cref="InvalidOperationException">The device did not finish or put back what it took.</exception>
    internal void Save(StateWriter writer)
    {
        if (_inFlightCount != 0)
            throw new InvalidOperationException($"{_inFlightCount} chains are in flight");
        writer.Bool(_running);
        writer.U8((byte)Fault);
        writer.U16(_ring.Position.Available);
        writer.U16(_ring.Position.Used);
    }

    private bool IsInFlight(ushort head) => (_inFlight[head >> 6] & 1UL << (head & 63)) != 0;

    private bool Release(ChainToken token)
    {
        if (token.Epoch != _epoch || token.Head >= _maxSize || !IsInFlight(token.Head))
            return false;
        _inFlight[token.Head >> 6] &= ~(1UL << (token.Head & 63));
        _inFlightCount--;
        return true;
    }

    private void Forget()
    {
        _epoch++;
        _inFlightCount = 0;
        Array.Clear(_inFlight);
    }
}
