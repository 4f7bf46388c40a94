using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Kvm.Interop.Slirp;

/// <summary>The addresses of a stack's network.</summary>
public sealed record SlirpSettings
{
    /// <summary>The network, its mask, the host, the nameserver and the guest by IPv4, as numbers whose highest byte comes first.</summary>
    public required (uint Network, uint Mask, uint Host, uint Nameserver, uint Guest) Ipv4 { get; init; }

    /// <summary>The prefix (of 64 bits), the host and the nameserver by IPv6, 16 bytes each; null without IPv6.</summary>
    public (byte[] Prefix, byte[] Host, byte[] Nameserver)? Ipv6 { get; init; }

    /// <summary>The longest packet; 0 is 1,500.</summary>
    public int Mtu { get; init; }

    /// <summary>The host's own services, by its address in this network, cannot be reached.</summary>
    public bool HidesHost { get; init; }
}

/// <summary>Who gets what a stack makes. Called on the thread that is in the stack; must not throw.</summary>
public interface ISlirpHost
{
    /// <summary>An Ethernet frame for the guest.</summary>
    void SendToGuest(ReadOnlySpan<byte> frame);

    /// <summary>The guest did something that cannot be.</summary>
    void GuestFault();
}

/// <summary>
/// A TCP/IP stack in this process that makes a guest's connections its own (libslirp, found when the first one is made). Every call, disposal included, is made
/// by one thread at a time; so are the callbacks. Allocates only to hold more sockets than ever before.
/// </summary>
public sealed unsafe class SlirpStack : IDisposable
{
    /// <summary>The longest MTU the library has (IF_MTU_MAX).</summary>
    public const int MostMtu = 65_520;

    // What every library since 4.1 knows.
    private const uint ConfigVersion = 1;

    private readonly ISlirpHost _host;
    private readonly List<Timer> _timers = [];
    private readonly SlirpCb* _callbacks;
    private GCHandle _self;
    private nint _stack;
    private PollFd[] _fds = new PollFd[64];
    private int _count;

    private SlirpStack(ISlirpHost host)
    {
        _host = host;
        _self = GCHandle.Alloc(this);
        // The library keeps the pointer.
        _callbacks = (SlirpCb*)NativeMemory.AllocZeroed((nuint)sizeof(SlirpCb));
        *_callbacks = new SlirpCb
        {
            SendPacket = &SendPacket,
            GuestError = &GuestError,
            ClockGetNs = &ClockGetNs,
            TimerNew = &TimerNew,
            TimerFree = &TimerFree,
            TimerMod = &TimerMod,
            RegisterPollFd = &Ignore,
            UnregisterPollFd = &Ignore,
            Notify = &Notify,
        };
    }

    private sealed class Timer(nint id, delegate* unmanaged<nint, void> call, nint argument)
    {
        public nint Id => id;

        public long Expires { get; set; } = long.MaxValue;

        public void Fire() => call(argument);
    }

    /// <summary>True if the library is there.</summary>
    public static bool IsInstalled => s_isInstalled.Value;

    /// <summary>The library's version, such as <c>4.7.0</c>; only where it <see cref="IsInstalled"/>.</summary>
    public static string Version => Marshal.PtrToStringUTF8((nint)LibSlirp.slirp_version_string()) ?? "";

    private static readonly Lazy<bool> s_isInstalled = new(() => NativeLibrary.TryLoad(LibSlirp.Library, typeof(SlirpStack).Assembly, DllImportSearchPath.SafeDirectories, out _));

    /// <summary>Descriptors of the stack's sockets as of the last turn.</summary>
    public int Sockets => Math.Max(0, _count - 1);

    /// <summary>Makes a stack; null if the library cannot make one of these settings.</summary>
    public static SlirpStack? Create(SlirpSettings settings, ISlirpHost host)
    {
        ArgumentNullException.ThrowIfNull(settings);
        SlirpStack made = new(host);
        SlirpConfig config = new()
        {
            Version = ConfigVersion,
            InEnabled = 1,
            Vnetwork = Network(settings.Ipv4.Network),
            Vnetmask = Network(settings.Ipv4.Mask),
            Vhost = Network(settings.Ipv4.Host),
            VdhcpStart = Network(settings.Ipv4.Guest),
            Vnameserver = Network(settings.Ipv4.Nameserver),
            IfMtu = (nuint)settings.Mtu,
            IfMru = (nuint)settings.Mtu,
            DisableHostLoopback = settings.HidesHost ? (byte)1 : (byte)0,
        };
        if (settings.Ipv6 is { } ipv6)
        {
            config.In6Enabled = 1;
            config.VprefixAddr6 = MemoryMarshal.Read<In6Addr>(ipv6.Prefix);
            config.VprefixLen = 64;
            config.Vhost6 = MemoryMarshal.Read<In6Addr>(ipv6.Host);
            config.Vnameserver6 = MemoryMarshal.Read<In6Addr>(ipv6.Nameserver);
        }

        made._stack = LibSlirp.slirp_new(&config, made._callbacks, GCHandle.ToIntPtr(made._self));
        if (made._stack != 0)
        {
            return made;
        }

        made.Dispose();
        return null;
    }

    /// <summary>Has the host listen at a port for the guest.</summary>
    /// <param name="udp">UDP instead of TCP.</param>
    /// <param name="address">The host's address, highest byte first.</param>
    /// <param name="hostPort">The host's port.</param>
    /// <param name="guest">The guest's IPv4 address; 0 for the one that is given out first.</param>
    /// <param name="guestPort">The guest's port.</param>
    /// <returns>0 or -errno: EADDRINUSE, EACCES (a privileged port), EADDRNOTAVAIL.</returns>
    public int Publish(bool udp, uint address, int hostPort, uint guest, int guestPort) =>
        LibSlirp.slirp_add_hostfwd(_stack, udp ? 1 : 0, Network(address), hostPort, Network(guest), guestPort) == 0 ? 0 : -Errno.Last;

    /// <summary>Has the host listen at a port of an IPv6 address, and of no IPv4 one, for the guest's IPv6.</summary>
    /// <param name="udp">UDP instead of TCP.</param>
    /// <param name="address">The host's address, 16 bytes.</param>
    /// <param name="hostPort">The host's port.</param>
    /// <param name="guestAddress">The guest's address, 16 bytes that are not all zero.</param>
    /// <param name="guestPort">The guest's port.</param>
    /// <returns>0 or -errno, as <see cref="Publish"/>; EOPNOTSUPP where the library is older than 4.7.</returns>
    public int PublishIpv6(bool udp, ReadOnlySpan<byte> address, ushort hostPort, ReadOnlySpan<byte> guestAddress, ushort guestPort)
    {
        SockAddrIn6 host = new() { Family = SockAddrIn6.Family6, Port = BinaryPrimitives.ReverseEndianness(hostPort), Address = MemoryMarshal.Read<In6Addr>(address) };
        SockAddrIn6 guest = new() { Family = SockAddrIn6.Family6, Port = BinaryPrimitives.ReverseEndianness(guestPort), Address = MemoryMarshal.Read<In6Addr>(guestAddress) };
        try
        {
            int flags = LibSlirp.ForwardIpv6Only | (udp ? LibSlirp.ForwardUdp : 0);
            return LibSlirp.slirp_add_hostxfwd(_stack, &host, (uint)sizeof(SockAddrIn6), &guest, (uint)sizeof(SockAddrIn6), flags) == 0 ? 0 : -Errno.Last;
        }
        catch (EntryPointNotFoundException)
        {
            return -Errno.EOPNOTSUPP;
        }
    }

    /// <summary>Gives the stack a frame of the guest's.</summary>
    public void Input(ReadOnlySpan<byte> frame)
    {
        fixed (byte* p = frame)
        {
            LibSlirp.slirp_input(_stack, p, frame.Length);
        }
    }

    /// <summary>Waits until something happens to a socket, a timer ends or <paramref name="bell"/> is readable, and does what follows from it.</summary>
    /// <param name="bell">A descriptor of the caller's own.</param>
    /// <returns>True if that is readable.</returns>
    public bool Turn(int bell)
    {
        uint timeout = uint.MaxValue;
        _fds[0] = new PollFd { Fd = bell, Events = PollFd.POLLIN };
        _count = 1;
        nint self = GCHandle.ToIntPtr(_self);
        LibSlirp.slirp_pollfds_fill(_stack, &timeout, &AddPoll, self);
        long wait = Math.Min(timeout == uint.MaxValue ? long.MaxValue : timeout, NextTimer());
        int result = Descriptor.Poll(_fds.AsSpan(0, _count), wait > int.MaxValue ? -1 : (int)wait);
        // Also where nothing happened: its own timers may be due.
        LibSlirp.slirp_pollfds_poll(_stack, result < 0 ? 1 : 0, &GetRevents, self);
        FireTimers();
        return result > 0 && (_fds[0].Revents & PollFd.POLLIN) != 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        nint stack = Interlocked.Exchange(ref _stack, 0);
        if (stack != 0)
        {
            LibSlirp.slirp_cleanup(stack);
        }

        if (_self.IsAllocated)
        {
            _self.Free();
            NativeMemory.Free(_callbacks);
        }
    }

    private static uint Network(uint address) => BinaryPrimitives.ReverseEndianness(address);

    private static long Milliseconds => (long)(Stopwatch.GetTimestamp() * (1000.0 / Stopwatch.Frequency));

    private long NextTimer()
    {
        long next = long.MaxValue;
        foreach (Timer timer in _timers)
        {
            next = Math.Min(next, timer.Expires);
        }

        return next == long.MaxValue ? next : Math.Max(0, next - Milliseconds);
    }

    private void FireTimers()
    {
        for (int i = 0; i < _timers.Count; i++)
        {
            if (_timers[i].Expires > Milliseconds)
            {
                continue;
            }

            _timers[i].Expires = long.MaxValue;
            _timers[i].Fire();
        }
    }

    private static SlirpStack Of(nint opaque) => Unsafe.As<SlirpStack>(GCHandle.FromIntPtr(opaque).Target!);

    [UnmanagedCallersOnly]
    private static nint SendPacket(byte* packet, nuint length, nint opaque)
    {
        if (length <= int.MaxValue)
        {
            Of(opaque)._host.SendToGuest(new ReadOnlySpan<byte>(packet, (int)length));
        }

        return (nint)length;
    }

    [UnmanagedCallersOnly]
    private static void GuestError(byte* message, nint opaque) => Of(opaque)._host.GuestFault();

    [UnmanagedCallersOnly]
    private static long ClockGetNs(nint opaque) => Milliseconds * 1_000_000;

    [UnmanagedCallersOnly]
    private static nint TimerNew(delegate* unmanaged<nint, void> call, nint argument, nint opaque)
    {
        SlirpStack stack = Of(opaque);
        nint id = stack._timers.Count == 0 ? 1 : stack._timers[^1].Id + 1;
        stack._timers.Add(new Timer(id, call, argument));
        return id;
    }

    [UnmanagedCallersOnly]
    private static void TimerFree(nint timer, nint opaque) => Of(opaque)._timers.RemoveAll(t => t.Id == timer);

    [UnmanagedCallersOnly]
    private static void TimerMod(nint timer, long expires, nint opaque)
    {
        foreach (Timer one in Of(opaque)._timers)
        {
            if (one.Id == timer)
            {
                one.Expires = expires;
            }
        }
    }

    // A set of descriptors is made anew for each turn.
    [UnmanagedCallersOnly]
    private static void Ignore(int fd, nint opaque)
    {
    }

    // Only the thread that is in the stack makes room in it.
    [UnmanagedCallersOnly]
    private static void Notify(nint opaque)
    {
    }

    [UnmanagedCallersOnly]
    private static int AddPoll(int fd, int events, nint opaque)
    {
        SlirpStack stack = Of(opaque);
        if (stack._count == stack._fds.Length)
        {
            Array.Resize(ref stack._fds, 2 * stack._fds.Length);
        }

        // Errors and hang-ups are always told.
        int wanted = ((events & LibSlirp.PollIn) != 0 ? PollFd.POLLIN : 0) | ((events & LibSlirp.PollOut) != 0 ? PollFd.POLLOUT : 0)
            | ((events & LibSlirp.PollPri) != 0 ? PollFd.POLLPRI : 0);
        stack._fds[stack._count] = new PollFd { Fd = fd, Events = (short)wanted };
        return stack._count++;
    }

    [UnmanagedCallersOnly]
    private static int GetRevents(int index, nint opaque)
    {
        SlirpStack stack = Of(opaque);
        if ((uint)index >= (uint)stack._count)
        {
            return 0;
        }

        int happened = stack._fds[index].Revents;
        return ((happened & PollFd.POLLIN) != 0 ? LibSlirp.PollIn : 0) | ((happened & PollFd.POLLOUT) != 0 ? LibSlirp.PollOut : 0)
            | ((happened & PollFd.POLLPRI) != 0 ? LibSlirp.PollPri : 0) | ((happened & PollFd.POLLERR) != 0 ? LibSlirp.PollErr : 0)
            | ((happened & PollFd.POLLHUP) != 0 ? LibSlirp.PollHup : 0);
    }
}
