using System.Buffers;
using System.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Control;

/// <summary>One client at a guest's control socket. Used by the server's thread.</summary>
internal sealed class ControlClientSession(UnixSocket socket, long now) : IDisposable
{
    /// <summary>Who connects and says nothing is sent away after this.</summary>
    private const int PatienceMs = 5_000;

    private readonly byte[] _request = new byte[ControlProtocol.MostRequestBytes];
    private readonly ArrayBufferWriter<byte> _answer = new();
    private readonly long _since = now;
    private int _received;
    private int _sent;
    private long _interval;
    private long _left;
    private bool _endless;
    private bool _last;

    /// <summary>The descriptor.</summary>
    public int Fd => socket.Handle.Fd;

    /// <summary>When it is to hear next, or to have asked by; milliseconds.</summary>
    public long Due { get; private set; } = now + PatienceMs;

    /// <summary>It has asked for statistics.</summary>
    public bool Listens { get; private set; }

    /// <summary>It does not take its answers: tell when it does.</summary>
    public bool IsBehind => _sent < _answer.WrittenCount;

    /// <summary>What it sent has come. False: it is to be hung up on.</summary>
    public bool Receive(long time)
    {
        Span<byte> rest = Listens ? stackalloc byte[64] : _request.AsSpan(_received);
        int count = socket.Receive(rest, out var descriptor, wait: false);
        descriptor?.Dispose();
        if (count == -Errno.EAGAIN)
            return true;
        if (count <= 0 || Listens)
            return false; // gone, or says more than it may
        _received += count;
        int end = _request.AsSpan(0, _received).IndexOf((byte)'\n');
        if (end < 0)
            return _received < _request.Length;
        if (_received > end + 1)
            return false; // as above
        if (ControlProtocol.Parse(_request.AsSpan(0, end), out var interval, out _left) is { } problem)
        {
            Answer(writer => writer.Write(Encoding.UTF8.GetBytes($"{{\"error\":\"{problem}\"}}\n")), last: true);
            return IsBehind;
        }

        Listens = true;
        _interval = (long)interval.TotalMilliseconds;
        _endless = _left == 0;
        Due = time;
        return true;
    }

    /// <summary>Its time has come. False: it is to be hung up on.</summary>
    public bool Advance(long time, Action<IBufferWriter<byte>> write)
    {
        if (!Listens)
            return time - _since < PatienceMs;
        Due = Math.Max(Due + _interval, time);
        // Who does not take what was sent gets no more until it does.
        if (IsBehind)
            return Send();
        _last = !_endless && --_left <= 0;
        return Answer(write, _last);
    }

    /// <summary>Sends what is left. False: it is gone, or has had its last answer.</summary>
    public bool Send()
    {
        while (IsBehind)
        {
            int count = socket.Send(_answer.WrittenSpan[_sent..], wait: false);
            if (count == -Errno.EAGAIN)
                return true;
            if (count < 0)
                return false;
            _sent += count;
        }

        return !_last;
    }

    public void Dispose() => socket.Dispose();

    private bool Answer(Action<IBufferWriter<byte>> write, bool last)
    {
        _last = last;
        _sent = 0;
        _answer.ResetWrittenCount();
        write(_answer);
        return Send();
    }
}
