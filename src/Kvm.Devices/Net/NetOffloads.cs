namespace Kvm.Devices.Net;

/// <summary>What a frame may leave to whoever gets it, in the values of Linux's TUNSETOFFLOAD (linux/if_tun.h).</summary>
[Flags]
public enum NetOffloads : uint
{
    /// <summary>Nothing: whole frames alone.</summary>
    None = 0,

    /// <summary>A checksum that is still to be finished.</summary>
    Checksum = 0x01,

    /// <summary>TCP over IPv4 that is still to be cut.</summary>
    Tso4 = 0x02,

    /// <summary>TCP over IPv6 that is still to be cut.</summary>
    Tso6 = 0x04,

    /// <summary>Either of these with the congestion bits set.</summary>
    Ecn = 0x08,

    /// <summary>UDP that is to be cut into IP fragments.</summary>
    Ufo = 0x10,

    /// <summary>UDP over IPv4 that is to be cut into datagrams.</summary>
    Uso4 = 0x20,

    /// <summary>UDP over IPv6 that is to be cut into datagrams.</summary>
    Uso6 = 0x40,

    /// <summary>All of them but <see cref="Ufo"/>, which current kernels only take in software.</summary>
    Modern = Checksum | Tso4 | Tso6 | Ecn | Uso4 | Uso6,
}
