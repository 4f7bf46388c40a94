using Kvm.Devices.Virtio;
using Kvm.Interop;

namespace Kvm.Vmm.Virtio;

/// <summary>
/// A thread that runs one device's queues: each has an eventfd, signalled by <see cref="Wake"/> or by KVM itself (ioeventfd). Allocates nothing
/// once it runs.
/// </summary>
internal sealed class DeviceThread : IQueueScheduler, IDisposable
{
    private const ulong StopData = ulong.MaxValue;

    private readonly VirtioDevice _device;
    private readonly Action<string> _failed;
    private readonly EventFd[] _bells;
    private readonly EventFd _stop = new();
    private readonly Epoll _epoll = new();
    private readonly EpollEvent[] _events;
    private readonly Thread _thread;

    /// <summary>Starts the thread.</summary>
    /// <param name="device">The device; its queues' scheduler is to be this object.</param>
    /// <param name="failed">Told of an exception on the thread, which is a fault of the program.</param>
    public DeviceThread(VirtioDevice device, Action<string> failed)
    {
        (_device, _failed) = (device, failed);
        _bells = new EventFd[device.QueueCount];
        _events = new EpollEvent[device.QueueCount + 1];
        for (int i = 0; i < _bells.Length; i++)
        {
            _bells[i] = new EventFd();
            _epoll.Add(_bells[i].Handle.Fd, EpollEvents.In, (ulong)i);
        }

        _epoll.Add(_stop.Handle.Fd, EpollEvents.In, StopData);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = device.StateName, IsBackground = true };
        _thread.Start();
    }

    /// <summary>What wakes a queue.</summary>
    public EventFd BellOf(int queue) => _bells[queue];

    /// <inheritdoc/>
    public void Wake(VirtioDevice device, int queue) => _bells[queue].Signal();

    /// <summary>Ends the thread after the request it is at.</summary>
    public void Dispose()
    {
        _stop.Signal();
        _thread.Join();
        _epoll.Dispose();
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
        // Queues with more to do than one turn; at most 64 (VirtioDevice.MaxQueues).
        ulong busy = 0;
        while (true)
        {
            int count = _epoll.Wait(_events, busy == 0 ? -1 : 0);
            for (int i = 0; i < count; i++)
            {
                if (_events[i].Data == StopData)
                    return;
                _bells[_events[i].Data].Drain();
                busy |= 1UL << (int)_events[i].Data;
            }

            for (int queue = 0; queue < _bells.Length; queue++)
            {
                if ((busy & 1UL << queue) != 0 && !_device.ProcessQueue(queue))
                    busy &= ~(1UL << queue);
            }
        }
    }
}
