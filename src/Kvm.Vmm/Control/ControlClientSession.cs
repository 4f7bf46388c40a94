using System.Buffers;
using Kvm.Interop;

namespace Kvm.Vmm.Control;

/// <summary>One client at a guest's control socket. Used by the server's thread.</summary>
internal sealed class ControlClientSession(UnixSocket socket, long now) : IDisposable
{
    /// <summary>Who connects and says nothing is sent away after this.</summary>
    private const int PatienceMs = 5_000;

    private readonly byte[] _received = new byte[ControlProtocol.MostRequestBytes];
    private readonly ArrayBufferWriter<byte> _answer = new();
    private readonly long _patience = now + PatienceMs;
    private ControlReply? _reply;
    private int _count;
    private int _sent;
    private bool _last;

    /// <summary>The descriptor.</summary>
    public int Fd => socket.Handle.Fd;

    /// <summary>When something is to be done, by <see cref="Environment.TickCount64"/>. Who does not take what was sent gets no more until it does.</summary>
    public long Due => IsBehind ? long.MaxValue : _reply?.Due ?? _patience;

    /// <summary>Whether the guest's vCPUs are to be asked where they are.</summary>
    public bool Samples => _reply is { Samples: true };

    /// <summary>It does not take its answers: tell when it does.</summary>
    public bool IsBehind => _sent < _answer.WrittenCount;

    /// <summary>What it sent has come. False: it is to be hung up on.</summary>
    /// <param name="begin">Makes the answer to a line; null with what is wrong.</param>
    public bool Receive(Func<ReadOnlyMemory<byte>, (ControlReply? Reply, string? Problem)> begin)
    {
        int count = socket.Receive(_received.AsSpan(_count), out var descriptor, wait: false);
        descriptor?.Dispose();
        if (count == -Errno.EAGAIN)
            return true;
        if (count <= 0)
            return false;
        if (_reply is not null)
            return _reply.Take(_received.AsSpan(0, count));
        _count += count;
        int end = _received.AsSpan(0, _count).IndexOf((byte)'\n');
        if (end < 0)
            return _count < _received.Length;
        (_reply, string? problem) = begin(_received.AsMemory(0, end));
        var rest = _received.AsSpan(end + 1, _count - end - 1);
        _count = 0;
        if (problem is not null)
        {
            ControlAnswer.WriteError(_answer, problem);
            _last = true;
            return Send();
        }

        return rest.IsEmpty || _reply!.Take(rest);
    }

    /// <summary>Its time has come. False: it is to be hung up on.</summary>
    public bool Advance(long time)
    {
        if (_reply is null)
            return time < _patience;
        _sent = 0;
        _answer.ResetWrittenCount();
        _last = !_reply.Advance(time, _answer);
        return Send();
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

    public void Dispose()
    {
        _reply?.Dispose();
        socket.Dispose();
    }
}
