using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;
using Kvm.Interop.Slirp;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Network;

/// <summary>
/// A cable to a TCP/IP stack in this process (libslirp): the guest's connections are the host's, made without any rights. The stack has a thread of its own,
/// and nobody else calls it; frames reach it and leave it by rings. Allocates nothing for a frame.
/// </summary>
internal sealed class SlirpBackend : IGuardedBackend, ICountedBackend, ISlirpHost
{
    /// <summary>Sockets of the host a guest may have; one that opens more gets no new ones until some are closed.</summary>
    public const int MostSockets = 4096;

    // The stack's TCP has windows of 64 KiB: room for those of many connections at once.
    private const int ToGuestBytes = 4 << 20, FromGuestBytes = 1 << 20;

    private readonly SlirpStack _stack;
    private readonly HostGuard _guard;
    private readonly FrameRing _toGuest = new(ToGuestBytes), _fromGuest = new(FromGuestBytes);
    private readonly EventFd _bell = new();
    private readonly byte[] _header = new byte[NetHeader.Size];
    private readonly Action<string> _failed;
    private Thread? _thread;
    private INetworkListener? _listener;
    private volatile bool _stop;
    private long _refused;
    private long _lost;
    private long _faults;
    private int _sockets;

    // Frames that may open a socket and were not counted among the sockets yet, those of them that the stack had when it was last given all there were, and
    // whether the card waits for room among them.
    private int _openings;
    private int _givenOpenings;
    private bool _waits;

    /// <summary>Makes the stack, listens at published ports and starts the thread.</summary>
    /// <param name="config">What the user asked for.</param>
    /// <param name="failed">Told of an exception on the thread, which is a fault of the program.</param>
    /// <exception cref="VmmException">There is no library, or a port cannot be published.</exception>
    public SlirpBackend(NetConfig config, Action<string> failed)
    {
        _failed = failed;
        var plan = config.Plan ?? new UserNetwork();
        _guard = new HostGuard(plan, config.AllowHost.Select(p => (p.Port, p.Udp)), PublishedPort.Guarded(config.Publish), TimeProvider.System);
        var settings = new SlirpSettings
        {
            Ipv4 = (plan.Network, plan.Mask, plan.Host, plan.Nameserver, plan.Guest),
            Ipv6 = (plan.Address6(0), plan.Address6(plan.Host6), plan.Address6(plan.Nameserver6)),
            Mtu = config.Mtu,
            // The library would take the guest's answers to a program of the host that asked a published UDP port for more of the same.
            HidesHost = config.AllowHost.Count == 0 && !config.Publish.Any(p => p.Udp) && !config.MayAllowMore,
        };
        _stack = (SlirpStack.IsInstalled ? SlirpStack.Create(settings, this) : null)
            ?? throw new VmmException(NetworkErrors.NoUserNetwork, SlirpStack.IsInstalled ? $"libslirp {SlirpStack.Version} makes no network of an MTU of {config.Mtu}" : "libslirp.so.0 is not installed");
        try
        {
            foreach (var port in config.Publish)
                Publish(port, config.GuestAddress6(plan));
        }
        catch
        {
            _stack.Dispose();
            _bell.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <inheritdoc/>
    /// <remarks>Frames the guard refused, frames for a guest that did not take them, faults of the guest, sockets as of now.</remarks>
    public IEnumerable<(string Name, long Value)> Counters =>
        [("hostRefused", Volatile.Read(ref _refused)), ("lost", Volatile.Read(ref _lost)), ("guestFaults", Volatile.Read(ref _faults)), ("sockets", Volatile.Read(ref _sockets))];

    /// <inheritdoc/>
    /// <remarks>The guard keeps all others from the guest; the stack itself was told by <see cref="NetConfig.MayAllowMore"/>.</remarks>
    public void Allow(IReadOnlyList<AllowedPort> ports) => _guard.Allow(ports.Select(p => (p.Port, p.Udp)));

    /// <inheritdoc/>
    public void Connect(INetworkListener listener)
    {
        _listener = listener;
        _thread = new Thread(Main, maxStackSize: 1 << 20) { Name = "slirp", IsBackground = true };
        _thread.Start();
    }

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        var verdict = _guard.Judge(frame[0].Span[NetHeader.Size..]);
        if (verdict == GuardVerdict.Refused || (verdict == GuardVerdict.Opening && Volatile.Read(ref _sockets) >= MostSockets))
        {
            Interlocked.Increment(ref _refused);
            return SendOutcome.Dropped;
        }

        bool opens = verdict == GuardVerdict.Opening;
        if (opens && MustWait())
            return SendOutcome.Full;
        if (!_fromGuest.TryAdd(frame, length, out bool wasEmpty))
            return SendOutcome.Full;
        if (opens)
            Interlocked.Increment(ref _openings);
        if (wasEmpty)
            _bell.Signal();
        return SendOutcome.Sent;
    }

    /// <summary>True while what is on its way to the stack may be all the sockets that there may be; the card is told when the stack has counted.</summary>
    private bool MustWait()
    {
        bool IsFull() => Volatile.Read(ref _sockets) + Volatile.Read(ref _openings) >= MostSockets;
        if (!IsFull())
            return false;
        Volatile.Write(ref _waits, true);
        Interlocked.MemoryBarrier();
        _bell.Signal();
        return IsFull();
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair) => _toGuest.Peek();

    /// <inheritdoc/>
    public void Take(int pair) => _toGuest.Take();

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        _bell.Signal();
        _thread?.Join();
        _stack.Dispose();
        _bell.Dispose();
    }

    /// <inheritdoc/>
    void ISlirpHost.SendToGuest(ReadOnlySpan<byte> frame)
    {
        _guard.Note(frame);
        if (frame.Length > NetHeader.MaxFrame || !_toGuest.TryAdd(_header, frame, out bool wasEmpty))
            Interlocked.Increment(ref _lost);
        else if (wasEmpty)
            _listener!.FramesWaiting(0);
    }

    /// <inheritdoc/>
    void ISlirpHost.GuestFault() => Interlocked.Increment(ref _faults);

    private void Publish(PublishedPort port, byte[] guest6)
    {
        byte[] address = port.Address.GetAddressBytes();
        int result = port.IsIpv6
            ? _stack.PublishIpv6(port.Udp, address, port.HostPort, guest6, port.GuestPort)
            : _stack.Publish(port.Udp, System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(address), port.HostPort, port.Guest, port.GuestPort);
        if (result != 0)
            throw new VmmException(NetworkErrors.NotPublished, $"--publish {port}: {Errno.NameOf(-result)} ({Errno.TextOf(-result)})");
    }

    private void Main()
    {
        try
        {
            while (!_stop)
            {
                if (_stack.Turn(_bell.Handle.Fd))
                    _bell.Drain();
                Volatile.Write(ref _sockets, _stack.Sockets);
                Interlocked.Add(ref _openings, -_givenOpenings);
                TakeFromGuest();
            }
        }
        // The last line of defence: an exception here would end the process with the terminal raw.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            _failed($"slirp: {e}");
        }
    }

    private void TakeFromGuest()
    {
        bool room = Interlocked.Exchange(ref _waits, false);
        while (_fromGuest.Peek() is { IsEmpty: false } frame)
        {
            _stack.Input(frame[NetHeader.Size..]);
            room |= _fromGuest.Take();
        }

        _givenOpenings = Volatile.Read(ref _openings);

        if (room)
            _listener!.RoomAgain(0);
    }
}
