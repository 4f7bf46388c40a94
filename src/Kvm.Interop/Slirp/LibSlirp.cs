using System.Runtime.InteropServices;

namespace Kvm.Interop.Slirp;

/// <summary><c>struct in6_addr</c>, aligned as there.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct In6Addr
{
    public uint Word0, Word1, Word2, Word3;
}

/// <summary><c>struct sockaddr_in6</c>; the port is in network order.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SockAddrIn6
{
    /// <summary><c>AF_INET6</c>.</summary>
    public const ushort Family6 = 10;

    public ushort Family;
    public ushort Port;
    public uint FlowInfo;
    public In6Addr Address;
    public uint ScopeId;
}

/// <summary><c>struct SlirpConfig</c> as of libslirp 4.7 (config version 4); an older library reads less of it. Addresses are in network order.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlirpConfig
{
    public uint Version;
    public int Restricted;
    public byte InEnabled;
    public uint Vnetwork;
    public uint Vnetmask;
    public uint Vhost;
    public byte In6Enabled;
    public In6Addr VprefixAddr6;
    public byte VprefixLen;
    public In6Addr Vhost6;
    public byte* Vhostname;
    public byte* TftpServerName;
    public byte* TftpPath;
    public byte* Bootfile;
    public uint VdhcpStart;
    public uint Vnameserver;
    public In6Addr Vnameserver6;
    public byte** Vdnssearch;
    public byte* Vdomainname;
    public nuint IfMtu;
    public nuint IfMru;
    public byte DisableHostLoopback;
    public byte EnableEmu;
    public void* OutboundAddr;
    public void* OutboundAddr6;
    public byte DisableDns;
    public byte DisableDhcp;
}

/// <summary><c>struct SlirpCb</c>: what the library calls. The last two members are of config version 4.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlirpCb
{
    public delegate* unmanaged<byte*, nuint, nint, nint> SendPacket;
    public delegate* unmanaged<byte*, nint, void> GuestError;
    public delegate* unmanaged<nint, long> ClockGetNs;
    public delegate* unmanaged<delegate* unmanaged<nint, void>, nint, nint, nint> TimerNew;
    public delegate* unmanaged<nint, nint, void> TimerFree;
    public delegate* unmanaged<nint, long, nint, void> TimerMod;
    public delegate* unmanaged<int, nint, void> RegisterPollFd;
    public delegate* unmanaged<int, nint, void> UnregisterPollFd;
    public delegate* unmanaged<nint, void> Notify;
    public void* InitCompleted;
    public void* TimerNewOpaque;
}

/// <summary>libslirp.h. All of one stack's calls come from one thread at a time.</summary>
internal static unsafe partial class LibSlirp
{
    public const string Library = "libslirp.so.0";

    /// <summary><c>SLIRP_HOSTFWD_UDP</c>, <c>SLIRP_HOSTFWD_V6ONLY</c>.</summary>
    public const int ForwardUdp = 1, ForwardIpv6Only = 2;

    public const int PollIn = 1, PollOut = 2, PollPri = 4, PollErr = 8, PollHup = 16;

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial nint slirp_new(SlirpConfig* config, SlirpCb* callbacks, nint opaque);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial void slirp_cleanup(nint slirp);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial void slirp_pollfds_fill(nint slirp, uint* timeout, delegate* unmanaged<int, int, nint, int> addPoll, nint opaque);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial void slirp_pollfds_poll(nint slirp, int selectError, delegate* unmanaged<int, nint, int> getRevents, nint opaque);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial void slirp_input(nint slirp, byte* packet, int length);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial int slirp_add_hostfwd(nint slirp, int isUdp, uint hostAddress, int hostPort, uint guestAddress, int guestPort);

    /// <summary>Since 4.7.</summary>
    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial int slirp_add_hostxfwd(nint slirp, SockAddrIn6* host, uint hostLength, SockAddrIn6* guest, uint guestLength, int flags);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial byte* slirp_version_string();
}
