using Kvm.Devices.Interrupts;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>Local APICs that keep the messages they are sent.</summary>
internal sealed class RecordingMsi : IMsiSink
{
    private readonly List<(ulong Address, uint Data)> _messages = [];

    public IReadOnlyList<(ulong Address, uint Data)> Messages
    {
        get
        {
            lock (_messages)
                return [.. _messages];
        }
    }

    public void Send(ulong address, uint data)
    {
        lock (_messages)
            _messages.Add((address, data));
    }

    public void Clear()
    {
        lock (_messages)
            _messages.Clear();
    }
}
