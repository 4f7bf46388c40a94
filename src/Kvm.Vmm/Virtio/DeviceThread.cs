using System.Diagnostics;
using System.Numerics;
using Kvm.Devices.Virtio;
using Kvm.Interop;
using Kvm.Vmm.Network;

namespace Kvm.Vmm.Virtio;

/// <summary>What a device's thread looks for before it sleeps.</summary>
internal enum LooksFor
{
    /// <summary>More requests, while they come fast (<see cref="PollWindow"/>).</summary>
    Requests,

    /// <summary>A card: what the guest answers to frames (<see cref="AnswerWindow"/>), and nothing while it waits for others.</summary>
    Answers,
}

/// <summary>
/// A thread that runs one device's queues: each has an eventfd, signalled by <see cref="Wake"/> or by KVM itself (ioeventfd). Allocates nothing
/// once it runs.
/// </summary>
internal sealed class DeviceThread : IQueueScheduler, IDisposable
{
    private const ulong StopData = ulong.MaxValue;
    private const int TurnsBetweenBells = 64;

    private const ulong Incoming = 0x5555_5555_5555_5555;

    private readonly VirtioDevice _device;
    private readonly Action<string> _failed;
    private readonly LooksFor _looks;
    private readonly bool _mayWait;
    private readonly ulong _queues;
    private readonly EventFd[] _bells;
    private readonly QueueWait[] _waits;
    private readonly EventFd _stop = new();
    private readonly Epoll _epoll = new();
    private readonly EpollEvent[] _events;
    private readonly Thread _thread;
    private readonly Lock _watching = new();
    private bool _isOver;
    private long _lastWork;

    /// <summary>Starts the thread.</summary>
    /// <param name="device">The device; its queues' scheduler is to be this object.</param>
    /// <param name="failed">Told of an exception on the thread, which is a fault of the program.</param>
    /// <param name="looks">What it looks for for a while before it sleeps; with one processor nothing, as the driver does nothing meanwhile.</param>
    public DeviceThread(VirtioDevice device, Action<string> failed, LooksFor looks = LooksFor.Requests)
    {
        (_device, _failed, _looks) = (device, failed, looks);
        _mayWait = Environment.ProcessorCount > 1;
        _queues = ulong.MaxValue >> (VirtioDevice.MaxQueues - device.QueueCount);
        _bells = new EventFd[device.QueueCount];
        _waits = new QueueWait[device.QueueCount];
        _events = new EpollEvent[device.QueueCount + 1];
        for (int i = 0; i < _bells.Length; i++)
        {
            _bells[i] = new EventFd();
            _waits[i] = new QueueWait(this, i);
            // An edge: each ring is one, whether or not anybody has read the one before, so nobody does.
            _epoll.Add(_bells[i].Handle.Fd, EpollEvents.EdgeTriggered | EpollEvents.In, (ulong)i);
        }

        _epoll.Add(_stop.Handle.Fd, EpollEvents.In, StopData);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = device.StateName, IsBackground = true };
        _thread.Start();
    }

    /// <summary>What wakes a queue.</summary>
    public EventFd BellOf(int queue) => _bells[queue];

    /// <summary>What wakes a queue by descriptors too, by edges, as whoever processes the queue goes on until they are not ready any more.</summary>
    public IDescriptorWait WaitOf(int queue) => _waits[queue];

    /// <inheritdoc/>
    public void Wake(VirtioDevice device, int queue) => _bells[queue].Signal();

    /// <summary>Ends the thread after the request it is at.</summary>
    public void Dispose()
    {
        _stop.Signal();
        _thread.Join();
        lock (_watching)
        {
            _isOver = true;
            _epoll.Dispose();
        }

        _stop.Dispose();
        foreach (var bell in _bells)
            bell.Dispose();
    }

    private void Main()
    {
        try
        {
            Loop();
        }
        // The last line of defence: an exception here would end the process with the terminal raw.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            _failed($"{_device.StateName}: {e}");
        }
    }

    private void Loop()
    {
        // Queues that may have something to do, or are looked at; at most 64 (VirtioDevice.MaxQueues).
        ulong awake = 0;
        var window = new PollWindow();
        var answers = new AnswerWindow();
        while (Collect(ref awake, ref window))
        {
            if (_looks == LooksFor.Answers)
            {
                awake = Exchange(awake, ref answers);
                continue;
            }

            int turns = 0;
            while (turns < TurnsBetweenBells && Poll(awake, window.Nanoseconds))
                turns++;
            if (turns < TurnsBetweenBells)
                awake = Rest(awake);
        }
    }

    /// <summary>Adds the queues whose bells rang, after sleeping if none is awake. False if the thread is to end.</summary>
    private bool Collect(ref ulong awake, ref PollWindow window)
    {
        bool sleep = awake == 0;
        int count = _epoll.Wait(_events, sleep ? -1 : 0);
        if (sleep && _looks == LooksFor.Requests && _mayWait)
            window.Woke((long)Stopwatch.GetElapsedTime(_lastWork).TotalNanoseconds);
        for (int i = 0; i < count; i++)
        {
            if (_events[i].Data == StopData)
                return false;
            int queue = (int)_events[i].Data;
            _waits[queue].Note();
            awake |= 1UL << queue;
        }

        return true;
    }

    /// <summary>
    /// Looks at the queues, notifications off, until one has something, which is done, or the window has passed: false. Not while the host does
    /// something for the device: its workers may need this processor.
    /// </summary>
    private bool Poll(ulong awake, long window)
    {
        do
        {
            if (PollOnce(awake) != 0)
            {
                _lastWork = Stopwatch.GetTimestamp();
                return true;
            }

            Thread.SpinWait(1);
        }
        while (window != 0 && !_device.AwaitsHost && Stopwatch.GetElapsedTime(_lastWork).TotalNanoseconds < window);
        return false;
    }

    /// <summary>
    /// Moves frames both ways: what comes in first, then, notifications off, what goes out, and again what is the answer to it, until there is none. Each queue
    /// of frames for the guest has an even number, and the next one is its other half. Returns the queues that have still more.
    /// </summary>
    private ulong Exchange(ulong awake, ref AnswerWindow answers)
    {
        ulong senders = 0, more = 0;
        for (int turns = 0; awake != 0 && turns < TurnsBetweenBells; turns++)
        {
            ulong came = 0;
            for (ulong queues = awake & Incoming; queues != 0; queues &= queues - 1)
            {
                int queue = BitOperations.TrailingZeroCount(queues);
                more = _device.MoveQueue(queue, out bool moved) ? more | 1UL << queue : more & ~(1UL << queue);
                came |= moved ? 1UL << queue : 0;
            }

            ulong asked = (awake & ~Incoming) | (came << 1 & _queues);
            senders |= asked;
            ulong went = PollOnce(asked);
            if (came != 0 && went == 0)
            {
                went = Await(came << 1 & _queues, answers.Nanoseconds);
                answers.Saw(went != 0);
            }

            awake = went | went >> 1;
        }

        return more | awake | Rest(senders);
    }

    /// <summary>Looks at queues, notifications off, for as long as the guest may take to answer. Returns those that had something, which is done.</summary>
    private ulong Await(ulong queues, long window)
    {
        if (!_mayWait || window == 0)
            return 0;
        ulong went;
        long start = Stopwatch.GetTimestamp();
        do
        {
            Thread.SpinWait(1);
            went = PollOnce(queues);
        }
        while (went == 0 && Stopwatch.GetElapsedTime(start).TotalNanoseconds < window);
        return went;
    }

    private ulong PollOnce(ulong queues)
    {
        ulong worked = 0;
        for (; queues != 0; queues &= queues - 1)
        {
            int queue = BitOperations.TrailingZeroCount(queues);
            worked |= _device.PollQueue(queue) ? 1UL << queue : 0;
        }

        return worked;
    }

    /// <summary>Turns notifications on again, and does what came meanwhile. Returns the queues that have still more.</summary>
    private ulong Rest(ulong awake)
    {
        ulong more = 0;
        for (; awake != 0; awake &= awake - 1)
        {
            int queue = BitOperations.TrailingZeroCount(awake);
            if (_device.ProcessQueue(queue))
                more |= 1UL << queue;
        }

        return more;
    }

    /// <summary>Whoever has a descriptor may not know that the device is going.</summary>
    private sealed class QueueWait(DeviceThread thread, int queue) : IDescriptorWait
    {
        private readonly EpollWait _wait = new(thread._epoll, (ulong)queue);

        public int Edges => _wait.Edges;

        /// <summary>The queue was woken, by whatever.</summary>
        public void Note() => _wait.Note();

        public void Add(int fd)
        {
            lock (thread._watching)
            {
                if (!thread._isOver)
                    _wait.Add(fd);
            }
        }

        public void AwaitRoom(int fd, bool wanted)
        {
            lock (thread._watching)
            {
                if (!thread._isOver)
                    _wait.AwaitRoom(fd, wanted);
            }
        }
    }
}
