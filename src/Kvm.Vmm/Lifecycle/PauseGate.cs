namespace Kvm.Vmm.Lifecycle;

/// <summary>
/// What the vCPU threads pass last before they enter the guest. While it is closed none is inside: a thread that waits at a debugger's hold or for
/// a scheduler is outside already, and one that comes to it waits here, looking at what else is wanted of it.
/// </summary>
/// <param name="vcpus">How many threads.</param>
/// <remarks>Passing an open gate is a store and a fence; only a closed one takes the lock.</remarks>
internal sealed class PauseGate(int vcpus)
{
    private readonly object _lock = new();
    private readonly int[] _inside = new int[vcpus];
    private volatile bool _closed;
    private int _calls;

    /// <summary>On a vCPU's thread: true, and it is inside until <see cref="Leave"/>; false where it was asked for something else and is to look.</summary>
    /// <param name="index">The vCPU.</param>
    /// <param name="requests">The thread's request word.</param>
    public bool TryEnter(int index, ref int requests)
    {
        Volatile.Write(ref _inside[index], 1);
        // The flag before the look at the gate, as Close has the gate before the look at the flags.
        Interlocked.MemoryBarrier();
        if (!_closed)
            return true;
        Leave(index);
        lock (_lock)
        {
            int calls = _calls;
            while (_closed && calls == _calls && Volatile.Read(ref requests) == 0)
                Monitor.Wait(_lock);
        }

        return false;
    }

    /// <summary>On a vCPU's thread: it is out of the guest, for whatever reason.</summary>
    public void Leave(int index)
    {
        Volatile.Write(ref _inside[index], 0);
        Interlocked.MemoryBarrier();
        if (_closed)
            Wake();
    }

    /// <summary>Lets nobody in any more; the caller then makes the threads look, and waits by <see cref="WaitUntilEmpty"/>.</summary>
    public void Close()
    {
        _closed = true;
        Interlocked.MemoryBarrier();
    }

    /// <summary>Waits until no vCPU is in the guest.</summary>
    public void WaitUntilEmpty()
    {
        lock (_lock)
        {
            while (!IsEmpty)
                Monitor.Wait(_lock);
        }
    }

    /// <summary>Lets all in again.</summary>
    public void Open()
    {
        _closed = false;
        Wake();
    }

    /// <summary>Has threads that wait look at what is wanted of them.</summary>
    public void Call()
    {
        if (_closed)
            Wake();
    }

    private void Wake()
    {
        lock (_lock)
        {
            _calls++;
            Monitor.PulseAll(_lock);
        }
    }

    private bool IsEmpty
    {
        get
        {
            foreach (ref int inside in _inside.AsSpan())
            {
                if (Volatile.Read(ref inside) != 0)
                    return false;
            }

            return true;
        }
    }
}
