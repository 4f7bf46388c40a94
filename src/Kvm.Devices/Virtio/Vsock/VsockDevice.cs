using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Vsock;

/// <summary>What a socket device did so far.</summary>
/// <param name="Connections">Connections that both sides agreed to.</param>
/// <param name="Refused">Connections that one side did not agree to, or that were one too many.</param>
/// <param name="BytesFromGuest">Data.</param>
/// <param name="BytesToGuest">Data.</param>
/// <param name="Dropped">Packets of the guest's that were malformed, for another context, or for nobody.</param>
public readonly record struct VsockCounters(long Connections, long Refused, long BytesFromGuest, long BytesToGuest, long Dropped);

/// <summary>
/// Sockets between guest and host, a stream of bytes each (virtio 1.2, 5.10): the guest's ports are its own, the host's are the business of an
/// <see cref="IVsockHost"/>.
/// </summary>
/// <remarks>
/// The guest's packets are dealt with on whatever thread runs the queues, what the host has to say comes on a thread of its own; connections are under one lock,
/// taken under a queue's gate, under which no queue is woken. Nothing is allocated but for a new connection, and once where the host does not take what the guest sends.
/// </remarks>
public sealed partial class VsockDevice : VirtioDevice, IDisposable
{
    /// <summary>The host's context (5.10.4).</summary>
    public const uint HostCid = 2;

    /// <summary>The first context that a guest can have.</summary>
    public const uint FirstGuestCid = 3;

    /// <summary>The last context that a guest can have: the next is "any".</summary>
    public const uint LastGuestCid = uint.MaxValue - 1;

    /// <summary>The most connections at a time.</summary>
    public const int MaxConnections = 1024;

    /// <summary>The first of the host's ports for connections that the host asks for.</summary>
    public const uint FirstHostPort = 1 << 30;

    private const int Input = 0, Output = 1, Events = 2, QueueEntries = 128, ConfigLength = 8;

    /// <summary>Connections that are not there and whose end the guest is still to be told; with so many it sends nothing more until it took some.</summary>
    private const int MaxResets = 128;

    private readonly IVsockHost _host;
    private readonly ulong _cid;
    private readonly Lock _lock = new();
    private readonly Dictionary<(uint Host, uint Guest), VsockConnection> _connections = [];
    private readonly Queue<VsockConnection> _ready = new(MaxConnections);
    private readonly Queue<(uint Host, uint Guest)> _resets = new(MaxResets);
    private uint _nextPort = FirstHostPort;
    private bool _outputHeld;
    private bool _isForgotten;
    private long _established, _refused, _fromGuest, _toGuest, _dropped;

    /// <summary>Makes a device.</summary>
    /// <param name="name">The state's name, such as <c>vsock0</c>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="cid">The guest's context, <see cref="FirstGuestCid"/> to <see cref="LastGuestCid"/>.</param>
    /// <param name="host">The host's ports.</param>
    public VsockDevice(string name, GuestMemory memory, uint cid, IVsockHost host)
        : base(name, VirtioDeviceType.Vsock, memory, 0, [QueueEntries, QueueEntries, QueueEntries], ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(host);
        ArgumentOutOfRangeException.ThrowIfLessThan(cid, FirstGuestCid);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(cid, LastGuestCid);
        (_host, _cid) = (host, cid);
        Span<byte> config = stackalloc byte[ConfigLength];
        BinaryPrimitives.WriteUInt64LittleEndian(config, cid);
        SetConfig(0, config);
    }

    /// <summary>What it did so far. Any thread.</summary>
    public VsockCounters Counters
    {
        get
        {
            lock (_lock)
                return new VsockCounters(_established, _refused, _fromGuest, _toGuest, _dropped);
        }
    }

    /// <summary>Asks the guest for a connection with one of its ports. Any thread; the stream is the device's from now on, whatever comes of it.</summary>
    /// <returns>The connection, of which <see cref="IVsockStream.OnAccepted"/> tells; null, the stream disposed of, where the guest has no driver or too many connections.</returns>
    public VsockConnection? Connect(uint guestPort, IVsockStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        VsockConnection? connection = null;
        lock (_lock)
        {
            if (IsActive && _connections.Count < MaxConnections)
            {
                connection = new VsockConnection(FreePort(guestPort), guestPort, fromGuest: false) { Stream = stream };
                connection.Owe(VsockOperation.Request);
                Add(connection);
            }
            else
            {
                _refused++;
                stream.Dispose();
            }
        }

        WakeQueue(Input);
        return connection;
    }

    /// <summary>Something has changed at the host's end of a connection. Any thread; nothing happens to one that has ended.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="readable">There may be bytes, or their end.</param>
    /// <param name="writable">Bytes may be taken.</param>
    /// <param name="gone">Nobody is there any more, and what was sent before has been read or is to be read now.</param>
    public void OnReady(VsockConnection connection, bool readable, bool writable, bool gone)
    {
        ArgumentNullException.ThrowIfNull(connection);
        lock (_lock)
        {
            if (connection.Stream is null)
                return;
            connection.IsReadable |= readable || gone;
            if (gone || (writable && !connection.Flush()))
                connection.HostEnds |= VsockEnds.Receives;
            Settle(connection);
        }

        WakeQueue(Input);
    }

    /// <summary>Gives a connection up that the guest does not answer. Any thread.</summary>
    /// <returns>False if it was established or has ended.</returns>
    public bool GiveUp(VsockConnection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        lock (_lock)
        {
            if (connection.Stream is null || connection.IsEstablished)
                return false;
            _refused++;
            Drop(connection);
        }

        WakeQueue(Input);
        return true;
    }

    /// <summary>Ends all connections. The guest runs no more.</summary>
    public void Dispose()
    {
        lock (_lock)
            ForgetAll();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (_lock)
            ForgetAll();
    }

    /// <inheritdoc/>
    /// <remarks>Connections do not outlive a snapshot: the guest is told that all have ended, and looks for its context anew (5.10.6.7).</remarks>
    protected override bool TryRestoreDevice(ref Snapshot.StateReader reader, ushort version, ulong features)
    {
        if (!reader.Complete)
            return false;
        lock (_lock)
        {
            ForgetAll();
            _isForgotten = true;
        }

        return true;
    }

    private uint FreePort(uint guestPort)
    {
        // There are more ports than connections.
        while (_connections.ContainsKey((_nextPort, guestPort)))
            _nextPort = NextPort(_nextPort);
        uint port = _nextPort;
        _nextPort = NextPort(port);
        return port;
    }

    private static uint NextPort(uint port) => FirstHostPort | (port + 1 & (FirstHostPort - 1));

    private void Add(VsockConnection connection)
    {
        _connections.Add((connection.HostPort, connection.GuestPort), connection);
        Enqueue(connection);
    }

    private void Enqueue(VsockConnection connection)
    {
        if (connection.IsQueued)
            return;
        connection.IsQueued = true;
        _ready.Enqueue(connection);
    }

    /// <summary>Ends a connection of which the guest knows, perhaps.</summary>
    private void Drop(VsockConnection connection)
    {
        if (connection.Owes(VsockOperation.Request))
            Forget(connection);
        else
            Reset(connection);
    }

    /// <summary>Ends a connection at the host's side. The guest has been told, or is not to be.</summary>
    private void Forget(VsockConnection connection)
    {
        _connections.Remove((connection.HostPort, connection.GuestPort));
        connection.Stream?.Dispose();
        connection.Stream = null;
    }

    /// <summary>Ends a connection and has the guest told.</summary>
    private void Reset(VsockConnection connection)
    {
        Forget(connection);
        OweReset(connection.HostPort, connection.GuestPort);
    }

    private void OweReset(uint hostPort, uint guestPort)
    {
        // The guest is not listened to while there are many, so more are of connections: those of one that takes nothing are forgotten.
        if (_resets.Count < MaxResets + MaxConnections)
            _resets.Enqueue((hostPort, guestPort));
    }

    private void ForgetAll()
    {
        foreach (var connection in _connections.Values)
        {
            connection.Stream?.Dispose();
            connection.Stream = null;
        }

        _connections.Clear();
        _ready.Clear();
        _resets.Clear();
        _outputHeld = false;
    }

    /// <summary>Decides what a connection has still to tell the guest, and ends one that is over in both directions.</summary>
    private void Settle(VsockConnection connection)
    {
        if (connection.IsOver)
        {
            Reset(connection);
            return;
        }

        connection.Decide();
        if (connection.HasSomething)
            Enqueue(connection);
    }
}
