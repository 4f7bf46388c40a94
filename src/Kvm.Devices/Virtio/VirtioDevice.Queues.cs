using System.Numerics;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio;

/// <summary>Queues: their registers, when they run, and the way from a notification to used buffers.</summary>
public abstract partial class VirtioDevice
{
    // The device whose queue this thread is processing.
    [ThreadStatic]
    private static VirtioDevice? _processing;

    // The queues to be woken when that is done, by this thread and no other: a guest that waits for what follows from its notification does
    // not depend on how the host schedules somebody else.
    [ThreadStatic]
    private static ulong _deferredWakes;

    /// <summary>What a device did with a chain.</summary>
    protected enum ChainResult
    {
        /// <summary>It is completed, or will be later: go on.</summary>
        Taken,

        /// <summary>It cannot be dealt with now: it was not touched, goes back, and the queue waits for a wake-up.</summary>
        Later,
    }

    /// <summary>The queue's object, to be used under its gate.</summary>
    protected VirtQueue QueueAt(int index) => _queues[index];

    /// <summary>True while somebody waits for the queue to be stopped. Any thread.</summary>
    internal bool IsStopRequested(int index) => _queues[index].IsStopRequested;

    // ---- Registers ----------------------------------------------------------------------------------------------------

    /// <summary>The most entries of a queue; 0 if there is no such queue.</summary>
    internal int MaxQueueSize(int index) => (uint)index < (uint)_queues.Length ? _queues[index].MaxSize : 0;

    /// <summary>What the driver has said of a queue; zeros if there is no such queue.</summary>
    internal QueueRegisters QueueRegistersOf(int index)
    {
        if ((uint)index >= (uint)_queues.Length)
            return default;
        lock (_control)
            return _registers[index];
    }

    /// <summary>
    /// Sets the number of entries; lost while the queue is enabled. A number that cannot be leaves the queue unavailable (0), so that what
    /// is shown is always legal (4.1.4.3.1), and enabling it breaks the device.
    /// </summary>
    internal void SetQueueSize(int index, uint size)
    {
        if ((uint)index >= (uint)_queues.Length)
            return;
        lock (_control)
        {
            bool possible = size <= _queues[index].MaxSize && (Has(VirtioFeature.RingPacked) || uint.IsPow2(size));
            if (!_registers[index].Enabled)
                _registers[index].Size = possible ? (ushort)size : (ushort)0;
        }
    }

    /// <summary>Sets 32 bits of an address; lost while the queue is enabled.</summary>
    internal void SetQueueAddress(int index, QueueArea area, bool high, uint value)
    {
        if ((uint)index >= (uint)_queues.Length)
            return;
        lock (_control)
        {
            ref var registers = ref _registers[index];
            if (registers.Enabled)
                return;
            ref ulong address = ref registers.DescriptorArea;
            if (area == QueueArea.Driver)
                address = ref registers.DriverArea;
            else if (area == QueueArea.Device)
                address = ref registers.DeviceArea;
            address = high ? address & 0xffff_ffff | (ulong)value << 32 : address & ~0xffff_ffffUL | value;
        }
    }

    /// <summary>Lets the device execute requests of a queue, at once if the driver is ready.</summary>
    internal void EnableQueue(int index)
    {
        if ((uint)index >= (uint)_queues.Length)
            return;
        bool started;
        lock (_control)
        {
            if (_registers[index].Enabled)
                return;
            _registers[index].Enabled = true;
            started = IsActive && StartIfEnabled(index);
        }

        if (started)
            _scheduler?.Wake(this, index);
    }

    /// <summary>Stops a queue and keeps its registers; when it returns nothing of it is under way.</summary>
    /// <returns>Where it would go on.</returns>
    internal QueuePosition DisableQueue(int index)
    {
        if ((uint)index >= (uint)_queues.Length)
            return default;
        lock (_control)
        {
            _registers[index].Enabled = false;
            return StopQueue(index, abandon: false);
        }
    }

    /// <summary>Resets one queue (2.6.1) where that was negotiated; when it returns the reset is complete.</summary>
    internal void ResetQueue(int index)
    {
        if ((uint)index >= (uint)_queues.Length || !Has(VirtioFeature.RingReset))
            return;
        lock (_control)
        {
            StopQueue(index, abandon: true);
            _registers[index] = new QueueRegisters { Size = (ushort)_queues[index].MaxSize };
        }
    }

    // ---- Running ------------------------------------------------------------------------------------------------------

    /// <summary>The driver notifies: whoever runs the queue is woken. Notifications of queues that do not run are lost (2.1.2).</summary>
    internal void Notify(int index)
    {
        Interlocked.Increment(ref _notifications);
        if ((uint)index < (uint)_queues.Length && IsActive)
            _scheduler?.Wake(this, index);
    }

    /// <summary>
    /// Wakes whoever runs a queue, for reasons of the host's: input came, a limit was lifted. Any thread; from within the device's own
    /// queues it happens when the queue's gate is free again, so that no queue runs inside another.
    /// </summary>
    protected void WakeQueue(int index)
    {
        if (!IsActive)
            return;
        if (_processing == this)
            _deferredWakes |= 1UL << index;
        else
            _scheduler?.Wake(this, index);
    }

    /// <summary>
    /// Processes a queue for at most as many chains as it has entries. Any thread; several queues of a device may run at once, one queue
    /// does not.
    /// </summary>
    /// <returns>True if there may be more, for which no notification will come: call again, after what else the thread has to do.</returns>
    public bool ProcessQueue(int index) => Process(index, polled: false);

    /// <summary><see cref="ProcessQueue"/>, for whoever is alone to process the queue and wants to know what it moved.</summary>
    /// <param name="index">The queue's number.</param>
    /// <param name="moved">A chain was taken.</param>
    public bool MoveQueue(int index, out bool moved)
    {
        long before = _queues[index].Popped;
        bool more = Process(index, polled: false);
        moved = _queues[index].Popped != before;
        return more;
    }

    /// <summary>
    /// Processes a queue if there is anything in it, and leaves the driver's notifications off: for a thread that looks again soon, and calls
    /// <see cref="ProcessQueue"/> before it sleeps. Any thread, as there.
    /// </summary>
    /// <returns>True if a chain was taken, or one that was taken before has ended.</returns>
    public bool PollQueue(int index)
    {
        var queue = _queues[index];
        long before;
        bool ended;
        lock (queue.Gate)
        {
            ended = queue.IsRunning && !NeedsReset && HasEnded(index);
            if (_paused || !(ended || queue.HasAvailable))
                return false;
            before = queue.Popped;
        }

        Process(index, polled: true);
        return ended || queue.Popped != before;
    }

    /// <summary>
    /// True while the host does something for the device, and wakes whoever runs its queue when it has ended: it may need the processor of a thread
    /// that looks for that. Any thread.
    /// </summary>
    public virtual bool AwaitsHost => false;

    /// <summary>True if something that a chain was taken for has ended, so that the queue is to be processed. Under the gate; cheap.</summary>
    protected virtual bool HasEnded(int index) => false;

    private bool Process(int index, bool polled)
    {
        var (outer, outerWakes) = (_processing, _deferredWakes);
        (_processing, _deferredWakes) = (this, 0);
        bool more = ProcessUnderGate(index, _queues[index], polled);
        ulong wakes = _deferredWakes;
        (_processing, _deferredWakes) = (outer, outerWakes);
        for (; wakes != 0; wakes &= wakes - 1)
            _scheduler?.Wake(this, BitOperations.TrailingZeroCount(wakes));
        return more;
    }

    private bool ProcessUnderGate(int index, VirtQueue queue, bool polled)
    {
        lock (queue.Gate)
        {
            if (!queue.IsRunning || _paused || NeedsReset)
                return false;
            queue.IsPolled = polled;
            bool more = OnQueue(index, queue);
            if (queue.Fault == QueueFault.None)
                return more;
            Break(queue.Fault);
            return false;
        }
    }

    /// <summary>Handles the queue's chains; under its gate. The usual way is to drain it by <see cref="OnChain"/>.</summary>
    /// <returns>True if there may be more for which no notification will come.</returns>
    protected virtual bool OnQueue(int index, VirtQueue queue) => Drain(index, queue);

    /// <summary>Handles one chain: completes it, keeps its token for later, or says <see cref="ChainResult.Later"/>.</summary>
    protected virtual ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        queue.Complete(chain.Token, 0);
        return ChainResult.Taken;
    }

    /// <summary>
    /// All chains that there were have been given to <see cref="OnChain"/>, and what is completed is about to be published: a device that only
    /// took note of them begins them here, all at once.
    /// </summary>
    protected virtual void OnTaken(int index, VirtQueue queue)
    {
    }

    /// <summary>Takes chains until there are none, or one ring's worth; publishes what is used, and interrupts once.</summary>
    protected bool Drain(int index, VirtQueue queue)
    {
        int budget = queue.Size;
        queue.DisableNotifications();
        do
        {
            while (budget > 0 && queue.TryPop(out var chain))
            {
                budget--;
                if (OnChain(index, queue, ref chain) == ChainResult.Later)
                {
                    queue.PutBack(chain.Token);
                    OnTaken(index, queue);
                    Publish(index, queue);
                    return false;
                }
            }

            OnTaken(index, queue);
            Publish(index, queue);
            if (budget == 0)
                return true;
        }
        while (queue.EnableNotifications());
        return false;
    }

    /// <summary>Shows the driver what is used, and interrupts it if it asks for that. Under the gate.</summary>
    protected void Publish(int index, VirtQueue queue)
    {
        if (!queue.Publish())
            return;
        Interlocked.Increment(ref _interruptsSent);
        _interrupts?.SignalQueue(index);
    }

    /// <summary>Stops processing, without the driver noticing, until <see cref="Resume"/>: for a snapshot. Nothing is in flight afterwards.</summary>
    public void Pause()
    {
        _paused = true;
        for (int i = 0; i < _queues.Length; i++)
            _queues[i].RequestStop();
        for (int i = 0; i < _queues.Length; i++)
        {
            lock (_queues[i].Gate)
                DrainQueue(i, _queues[i], abandon: false);
        }
    }

    /// <summary>Goes on after <see cref="Pause"/> or a restore.</summary>
    public void Resume()
    {
        _paused = false;
        for (int i = 0; i < _queues.Length; i++)
            _queues[i].CancelStopRequest();
        WakeAll();
    }

    /// <summary>
    /// Tells where the device writes into rings: used rings, and packed rings whole. Their memory was looked up once, so that who notes written pages hears of no write.
    /// Any thread.
    /// </summary>
    /// <param name="tell">Called with an address and a length.</param>
    public void TellRings(Action<ulong, ulong> tell)
    {
        ArgumentNullException.ThrowIfNull(tell);
        const ulong usedHead = 6, usedEntry = 8, packedEntry = 16, eventSize = 4;
        lock (_control)
        {
            bool packed = Has(VirtioFeature.RingPacked);
            foreach (ref readonly var registers in _registers.AsSpan())
            {
                if (!registers.Enabled)
                    continue;
                tell(registers.DeviceArea, packed ? eventSize : usedHead + (usedEntry * registers.Size));
                if (packed)
                    tell(registers.DescriptorArea, packedEntry * registers.Size);
            }
        }
    }

    private void WakeAll()
    {
        for (int i = 0; i < _queues.Length; i++)
            WakeQueue(i);
    }

    /// <summary>Starts a queue the driver has enabled; one that cannot be there breaks the device.</summary>
    private bool StartIfEnabled(int index)
    {
        if (!_registers[index].Enabled)
            return false;
        lock (_queues[index].Gate)
        {
            if (_queues[index].Start(SetupOf(_registers[index], _driverFeatures)))
                return true;
        }

        Break(QueueFault.BadSetup);
        return false;
    }

    private QueuePosition StopQueue(int index, bool abandon)
    {
        var queue = _queues[index];
        queue.RequestStop();
        lock (queue.Gate)
        {
            DrainQueue(index, queue, abandon);
            return queue.Stop();
        }
    }

    private static QueueSetup SetupOf(in QueueRegisters registers, ulong features) => new()
    {
        Size = registers.Size,
        DescriptorArea = registers.DescriptorArea,
        DriverArea = registers.DriverArea,
        DeviceArea = registers.DeviceArea,
        Packed = (features & VirtioFeature.RingPacked) != 0,
        Indirect = (features & VirtioFeature.IndirectDescriptors) != 0,
        EventIndex = (features & VirtioFeature.EventIndex) != 0,
    };
}
