namespace Kvm.Devices.Platform;

/// <summary>Channel 2 of the interval timer as system control port B sees it: a gate that starts it and an output to look at.</summary>
public interface ISpeakerChannel
{
    /// <summary>The channel's output now.</summary>
    bool Output { get; }

    /// <summary>Drives the channel's gate; a rise starts the count over in the modes where it does (8254 data sheet, figure 21).</summary>
    void SetGate(bool open);
}
