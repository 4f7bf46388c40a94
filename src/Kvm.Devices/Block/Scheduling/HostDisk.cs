namespace Kvm.Devices.Block.Scheduling;

/// <summary>
/// A disk of the host that several queues use: at most <see cref="Places"/> of their requests are under way, shared among them by weight.
/// Safe from several threads at once; allocates nothing but for queues that come.
/// </summary>
public sealed class HostDisk
{
    /// <summary>The most requests under way: enough for a solid-state disk to be busy, few enough for the next to be chosen late.</summary>
    public const int Places = 8;

    private readonly Lock _gate = new();
    private readonly FairShare _share = new(Places);
    private readonly Dictionary<int, Flow> _flows = [];

    /// <summary>Adds a queue.</summary>
    /// <param name="weight">Its share, 1 to 100,000.</param>
    internal Flow Join(int weight)
    {
        lock (_gate)
        {
            int number = _share.Join(weight);
            return _flows[number] = new Flow(this, number);
        }
    }

    /// <summary>One queue's use of the disk.</summary>
    internal sealed class Flow(HostDisk disk, int number) : IDisposable
    {
        private bool _waits;
        private volatile bool _granted;
        private int _begun;

        /// <summary>Called, on any thread, when a request that had to wait may begin.</summary>
        public Action? Wake { get; set; }

        /// <summary>True if a request that had to wait may begin.</summary>
        public bool HasGrant => _granted;

        /// <summary>Begins a request if there is a place; else the queue is woken when it has one, and asks for the same request again.</summary>
        public bool TryBegin(long cost)
        {
            lock (disk._gate)
            {
                if (_waits && !_granted)
                    return false;
                if (!_granted && !disk._share.TryBegin(number, cost))
                {
                    _waits = true;
                    return false;
                }

                (_waits, _granted) = (false, false);
                _begun++;
                return true;
            }
        }

        /// <summary>Begins a request whether there is a place or not: a queue that has to empty itself does not wait for others.</summary>
        public void Begin(long cost)
        {
            if (!TryBegin(cost))
                GiveUp();
        }

        /// <summary>A request has ended.</summary>
        public void End()
        {
            Flow? next = null;
            lock (disk._gate)
            {
                // One that began without a place has none to give back.
                if (_begun == 0)
                    return;
                _begun--;
                next = disk.Free();
            }

            next?.Wake?.Invoke();
        }

        /// <summary>Gives back whatever it has and waits for.</summary>
        public void GiveUp()
        {
            bool granted;
            lock (disk._gate)
            {
                granted = _granted;
                if (_waits && !_granted)
                    disk._share.GiveUp(number);
                (_waits, _granted) = (false, false);
                if (granted)
                    _begun++;
            }

            if (granted)
                End();
        }

        /// <summary>Gives back the places of requests that were given up, and what it waits for.</summary>
        public void GiveUpAll()
        {
            GiveUp();
            while (Volatile.Read(ref _begun) > 0)
                End();
        }

        /// <summary>Leaves the disk. Nothing is under way.</summary>
        public void Dispose()
        {
            GiveUpAll();
            lock (disk._gate)
            {
                if (disk._flows.Remove(number))
                    disk._share.Leave(number);
            }
        }

        /// <summary>Under the gate: a request that waited may begin.</summary>
        public void Grant() => _granted = true;
    }

    private Flow? Free()
    {
        int next = _share.End();
        if (next < 0)
            return null;
        _flows[next].Grant();
        return _flows[next];
    }
}
