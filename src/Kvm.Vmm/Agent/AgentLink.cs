using System.Buffers.Binary;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>One connection with a guest's agent: frames, sent by anybody and received by one at a time.</summary>
internal sealed class AgentLink : IDisposable
{
    private const int MostAnswer = 32;
    private static readonly TimeSpan s_shortest = TimeSpan.FromMilliseconds(1), s_longest = TimeSpan.FromMilliseconds(50);

    private readonly Socket _socket;
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly byte[] _in = new byte[AgentProtocol.HeaderBytes + AgentProtocol.MostPayload];
    private byte[] _out = new byte[256];
    private int _start, _filled;
    private bool _accepted;

    private AgentLink(Socket socket) => _socket = socket;

    /// <summary>Connects, greets and asks for something, all in one message; the first frame that is received then is the answer.</summary>
    /// <param name="path">The Unix socket of the guest's sockets.</param>
    /// <param name="patience">How long the guest may have nobody who listens.</param>
    /// <param name="absence">How long there may be no socket, as of a guest that is being started.</param>
    /// <param name="kind">What is asked.</param>
    /// <param name="payload">With what.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="AgentException">Nobody answers, or somebody who is no agent.</exception>
    public static async Task<AgentLink> OpenAsync(string path, TimeSpan patience, TimeSpan absence, AgentFrame kind, ReadOnlyMemory<byte> payload, CancellationToken cancel)
    {
        byte[] first = FirstMessage(kind, payload.Span);
        long start = Environment.TickCount64;
        for (var wait = s_shortest; ; wait = wait * 2 < s_longest ? wait * 2 : s_longest)
        {
            // A guest that is starting or has too many connections hangs up before it has been told anything, so asking again asks once.
            int error = Connect(path, out var socket);
            if (error == 0 && await TryOpenAsync(socket!, first, cancel).ConfigureAwait(false) is { } link)
                return link;
            var limit = error is 0 or -Errno.EAGAIN ? patience : error is -Errno.ENOENT or -Errno.ECONNREFUSED ? absence : TimeSpan.Zero;
            if (Environment.TickCount64 - start >= limit.TotalMilliseconds)
                throw new AgentException(AgentErrors.NoAgent, error == 0 ? $"nobody listens at its port {AgentProtocol.Port} ({VisibleText.Quote(path)})" : $"{VisibleText.Quote(path)}: {Errno.TextOf(-error)}");
            await Task.Delay(wait, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Sends a frame.</summary>
    /// <exception cref="AgentException">The guest is gone.</exception>
    public async ValueTask SendAsync(AgentFrame kind, ReadOnlyMemory<byte> payload, CancellationToken cancel)
    {
        await _sending.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            int length = AgentProtocol.HeaderBytes + payload.Length;
            if (_out.Length < length)
                _out = new byte[AgentProtocol.HeaderBytes + AgentProtocol.MostPayload];
            PutFrame(_out, kind, payload.Span);
            // Half a frame would spoil all that follow: what has begun is sent, however long it takes, or the connection ends.
            await SendAllAsync(_out.AsMemory(0, length), CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            _sending.Release();
        }
    }

    /// <summary>The next frame. Its payload is there until the next call.</summary>
    /// <exception cref="AgentException">The guest is gone, or does not keep to the protocol.</exception>
    public async ValueTask<(AgentFrame Kind, ReadOnlyMemory<byte> Payload)> ReceiveAsync(CancellationToken cancel)
    {
        while (true)
        {
            if (TryTake(out var kind, out var payload))
                return (kind, payload);
            if (await FillAsync(cancel).ConfigureAwait(false) == 0)
                throw AgentException.Lost();
        }
    }

    /// <summary>Hangs up: whoever sends or receives ends with <see cref="AgentErrors.Lost"/>.</summary>
    public void Dispose() => _socket.Dispose();

    private static async Task<AgentLink?> TryOpenAsync(Socket socket, byte[] first, CancellationToken cancel)
    {
        var link = new AgentLink(socket);
        using var cancelled = cancel.Register(static link => ((AgentLink)link!).Dispose(), link);
        try
        {
            await link.SendAllAsync(first, cancel).ConfigureAwait(false);
            if (!await link.IsAcceptedAsync(cancel).ConfigureAwait(false))
            {
                link.Dispose();
                return null;
            }

            var (kind, payload) = await link.ReceiveAsync(cancel).ConfigureAwait(false);
            if (kind != AgentFrame.Hello || AgentProtocol.Check(payload.Span) is not null)
                throw AgentException.Bad(AgentProtocol.Check(payload.Span) ?? "it does not greet");
            return link;
        }
        catch (Exception e)
        {
            link.Dispose();
            cancel.ThrowIfCancellationRequested();
            // Hung up on before it was told that somebody is there.
            if (e is AgentException { Error: var error } && error == AgentErrors.Lost && !link._accepted)
                return null;
            throw;
        }
    }

    /// <summary>Connects with the guest's sockets: 0 or -errno, EAGAIN where too many wait to be let in.</summary>
    private static int Connect(string path, out Socket? socket)
    {
        socket = null;
        int error = UnixSocket.TryConnect(path, out var made, wait: false);
        using (made)
        {
            if (error != 0)
                return error;
            if (!made!.HasTrustedPeer(out _))
                throw new AgentException(AgentErrors.NoAgent, $"{VisibleText.Quote(path)} is another user's");
            socket = new Socket(new SafeSocketHandle(made.Handle.Release(), ownsHandle: true));
            return 0;
        }
    }

    /// <summary>Reads Firecracker's answer: <c>OK</c> and the host's port. False where it is hung up on.</summary>
    private async Task<bool> IsAcceptedAsync(CancellationToken cancel)
    {
        while (true)
        {
            int end = _in.AsSpan(0, Math.Min(_filled, MostAnswer)).IndexOf((byte)'\n');
            if (end >= 0)
            {
                if (!_in.AsSpan(0, end).StartsWith("OK "u8))
                    throw AgentException.Bad("its socket does not say OK");
                _start = end + 1;
                return _accepted = true;
            }

            if (_filled >= MostAnswer)
                throw AgentException.Bad("its socket does not say OK");
            if (await FillAsync(cancel).ConfigureAwait(false) == 0)
                return false;
        }
    }

    private bool TryTake(out AgentFrame kind, out ReadOnlyMemory<byte> payload)
    {
        (kind, payload) = (default, default);
        var there = _in.AsSpan(_start, _filled - _start);
        if (there.Length < AgentProtocol.HeaderBytes)
            return false;
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(there);
        if (length > AgentProtocol.MostPayload || (there[5] | there[6] | there[7]) != 0)
            throw AgentException.Bad($"a frame says that it has {length} bytes");
        if (there.Length - AgentProtocol.HeaderBytes < (int)length)
            return false;
        kind = (AgentFrame)there[4];
        payload = _in.AsMemory(_start + AgentProtocol.HeaderBytes, (int)length);
        _start += AgentProtocol.HeaderBytes + (int)length;
        return true;
    }

    /// <summary>Reads what is there, or waits for some; 0 where there is an end.</summary>
    private async ValueTask<int> FillAsync(CancellationToken cancel)
    {
        if (_start > 0)
        {
            _in.AsSpan(_start, _filled - _start).CopyTo(_in);
            (_start, _filled) = (0, _filled - _start);
        }

        try
        {
            int count = await _socket.ReceiveAsync(_in.AsMemory(_filled), cancel).ConfigureAwait(false);
            _filled += count;
            return count;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            throw AgentException.Lost(e);
        }
    }

    private async ValueTask SendAllAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        try
        {
            while (!bytes.IsEmpty)
                bytes = bytes[await _socket.SendAsync(bytes, cancel).ConfigureAwait(false)..];
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            throw AgentException.Lost(e);
        }
    }

    private static byte[] FirstMessage(AgentFrame kind, ReadOnlySpan<byte> payload)
    {
        byte[] connect = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"CONNECT {AgentProtocol.Port}\n"));
        byte[] hello = AgentProtocol.Hello();
        byte[] message = new byte[connect.Length + AgentProtocol.HeaderBytes + hello.Length + AgentProtocol.HeaderBytes + payload.Length];
        connect.CopyTo(message, 0);
        PutFrame(message.AsSpan(connect.Length), AgentFrame.Hello, hello);
        PutFrame(message.AsSpan(connect.Length + AgentProtocol.HeaderBytes + hello.Length), kind, payload);
        return message;
    }

    private static void PutFrame(Span<byte> to, AgentFrame kind, ReadOnlySpan<byte> payload)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(to, (uint)payload.Length);
        to[4] = (byte)kind;
        to[5..AgentProtocol.HeaderBytes].Clear();
        payload.CopyTo(to[AgentProtocol.HeaderBytes..]);
    }
}
