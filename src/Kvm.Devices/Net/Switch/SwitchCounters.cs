namespace Kvm.Devices.Net.Switch;

/// <summary>Why a switch did not pass a frame on.</summary>
public enum SwitchDrop
{
    /// <summary>Its length, or what its header leaves undone, cannot be.</summary>
    Malformed,

    /// <summary>Its source is a group's address or nobody's.</summary>
    BadSource,

    /// <summary>Its source belongs to another port, or is not the only one its port may have.</summary>
    Spoofed,

    /// <summary>Its port has no part in its VLAN, or it has no tag where one must be.</summary>
    Vlan,

    /// <summary>It is for the next bridge alone (01:80:c2:00:00:00 to 0f), and not to be passed on (IEEE 802.1Q-2018, 8.6.3).</summary>
    Reserved,

    /// <summary>It is for somebody at the port it came from.</summary>
    Local,

    /// <summary>One of the two ports is isolated, or both are of one group.</summary>
    Isolated,

    /// <summary>The policy refused it.</summary>
    Policy,

    /// <summary>Its port sent too many frames to everybody or to nobody known.</summary>
    Flood,

    /// <summary>It waits nowhere: its receiver's queue is full.</summary>
    QueueFull,

    /// <summary>Its port's part of the uplink's queue is full.</summary>
    UplinkFull,

    /// <summary>Its receiver does not finish frames, and what this one leaves undone cannot be done here.</summary>
    Unfinished,
}

/// <summary>What a port did so far.</summary>
/// <param name="FramesIn">Frames it sent.</param>
/// <param name="BytesIn">Their bytes.</param>
/// <param name="FramesOut">Frames that were taken from it.</param>
/// <param name="BytesOut">Their bytes.</param>
public readonly record struct PortCounters(long FramesIn, long BytesIn, long FramesOut, long BytesOut);

/// <summary>What a switch knows.</summary>
/// <param name="Ports">Ports that are there.</param>
/// <param name="Addresses">Addresses that are known.</param>
/// <param name="Moves">Addresses that were seen at another port than before.</param>
/// <param name="NotLearned">Frames from addresses for which there was no room.</param>
/// <param name="Flooded">Frames that went to all ports of their VLAN.</param>
public readonly record struct SwitchCounters(int Ports, int Addresses, long Moves, long NotLearned, long Flooded);
