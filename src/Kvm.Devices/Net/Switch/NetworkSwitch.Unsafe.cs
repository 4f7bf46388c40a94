using Kvm.Devices.Memory;

namespace Kvm.Devices.Net.Switch;

public sealed unsafe partial class NetworkSwitch
{
    /// <summary>Sends a frame of managed memory.</summary>
    internal static bool Send(SwitchPort from, Span<byte> frame)
    {
        // SAFETY: the memory stays where it is during the call, and nobody keeps a piece of a frame after it.
        fixed (byte* bytes = frame)
            return from.Send([new HostBuffer((nint)bytes, frame.Length)], frame.Length);
    }
}
