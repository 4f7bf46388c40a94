using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

public sealed unsafe partial class FrameRing
{
    /// <summary>As <see cref="Peek"/>, for backends: valid until <see cref="Take"/>, and as long as this object is there.</summary>
    public HostBuffer PeekBuffer()
    {
        var frame = Peek();
        // SAFETY: the span lies in _bytes, which is pinned for as long as it lives, and whoever holds the ring holds it.
        return frame.IsEmpty ? default : new HostBuffer((nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(frame)), frame.Length);
    }
}
