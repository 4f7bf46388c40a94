using System.Text.Json;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>One client of a scheduler: what came and is no whole message yet, what goes and was not taken yet. The server's thread alone.</summary>
internal sealed class Connection(UnixSocket socket, ulong token, int processId) : IDisposable
{
    /// <summary>Answers that a client does not take beyond this end the connection.</summary>
    private const int MostPendingBytes = Wire.MostAnswerBytes * 2;

    /// <summary>Room for most requests: many connections do nothing but wait.</summary>
    private const int FirstInputBytes = 512;

    private readonly Queue<(byte[] Bytes, FdHandle? Descriptor)> _output = new();
    private byte[] _input = new byte[FirstInputBytes];
    private int _inputLength;
    private int _sent;
    private long _pending;

    public UnixSocket Socket => socket;

    public ulong Token => token;

    /// <summary>The process at the other end, as the kernel says.</summary>
    public int ProcessId => processId;

    /// <summary>What it registered, or null.</summary>
    public Applicant? Guest { get; set; }

    /// <summary>The peer left or talks nonsense.</summary>
    public bool IsGone { get; private set; }

    public bool HasOutput => _output.Count > 0;

    /// <summary>The next whole message, or null where there is none yet.</summary>
    public JsonDocument? Next()
    {
        while (!IsGone)
        {
            switch (Wire.LengthOf(_input.AsSpan(0, _inputLength), Wire.MostRequestBytes))
            {
                case -2:
                    IsGone = true;
                    return null;
                case >= 0 and var length when _inputLength >= Wire.HeaderBytes + length:
                    var message = Wire.Parse(_input.AsSpan(Wire.HeaderBytes, length).ToArray());
                    _inputLength -= Wire.HeaderBytes + length;
                    _input.AsSpan(Wire.HeaderBytes + length, _inputLength).CopyTo(_input);
                    IsGone = message is null;
                    return message;
            }

            if (_inputLength == _input.Length)
                Array.Resize(ref _input, _input.Length * 2);
            int count = socket.Receive(_input.AsSpan(_inputLength), out var stray, wait: false);
            stray?.Dispose();
            if (count == -Errno.EAGAIN)
                return null;
            IsGone = count <= 0;
            _inputLength += Math.Max(0, count);
        }

        return null;
    }

    /// <summary>Sends as much as the peer takes now, the rest later.</summary>
    public void Send(byte[] frame, FdHandle? descriptor = null)
    {
        _output.Enqueue((frame, descriptor));
        _pending += frame.Length;
        Flush();
        IsGone |= _pending > MostPendingBytes;
    }

    /// <summary>Goes on sending.</summary>
    public void Flush()
    {
        while (!IsGone && _output.TryPeek(out var first))
        {
            int count = socket.Send(first.Bytes.AsSpan(_sent), _sent == 0 ? first.Descriptor : null, wait: false);
            if (count == -Errno.EAGAIN)
                return;
            if (count <= 0)
            {
                IsGone = true;
                return;
            }

            _sent += count;
            _pending -= count;
            if (_sent < first.Bytes.Length)
                continue;
            _output.Dequeue();
            _sent = 0;
        }
    }

    public void Dispose() => socket.Dispose();
}
