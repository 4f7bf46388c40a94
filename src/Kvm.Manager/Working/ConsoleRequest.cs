using System.Buffers;
using Kvm.Vmm.Control;

namespace Kvm.Manager.Working;

/// <summary>
/// <c>console read|write</c>: the guest's console. The answer begins with a line of JSON (<c>writes</c>: whether what the client sends is typed; one
/// client's is at a time), behind which comes what the guest wrote last, up to 64 KiB, and then writes.
/// </summary>
internal sealed class ConsoleRequest(ConsoleHub hub) : IControlRequest
{
    public string Name => "console";

    public string Form => "console read|write";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) =>
        words is ["read" or "write"] ? new ConsoleReply(hub, words[0] == "write") : null;
}

/// <summary>One client at a guest's console. The server's thread, but for <see cref="Wake"/>.</summary>
internal sealed class ConsoleReply : ControlReply
{
    private const int MostAtOnce = 16 << 10;

    private readonly ConsoleHub _hub;
    private readonly bool _writes;
    private long _position;
    private bool _greeted;
    private volatile bool _woken = true;

    public ConsoleReply(ConsoleHub hub, bool writes)
    {
        _hub = hub;
        _writes = hub.Add(this, writes);
    }

    public override long Due => _woken ? 0 : long.MaxValue;

    /// <summary>There is something to read. Any thread.</summary>
    public void Wake()
    {
        if (_woken)
            return;
        _woken = true;
        Ring();
    }

    public override bool Advance(long now, IBufferWriter<byte> to)
    {
        _woken = false;
        if (!_greeted)
            to.Write(_writes ? "{\"writes\":true}\n"u8 : "{\"writes\":false}\n"u8);
        _greeted = true;
        int count = _hub.Read(ref _position, to.GetSpan(MostAtOnce)[..MostAtOnce]);
        to.Advance(count);
        if (_position < _hub.Written)
            _woken = true;
        return true;
    }

    public override bool Take(ReadOnlySpan<byte> input)
    {
        if (_writes)
            _hub.Type(input);
        return true;
    }

    public override void Dispose()
    {
        _hub.Remove(this);
        base.Dispose();
    }
}
