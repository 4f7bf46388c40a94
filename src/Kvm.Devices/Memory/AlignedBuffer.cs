namespace Kvm.Devices.Memory;

/// <summary>
/// Zeroed memory of a device's own at an aligned address, outside the garbage collector's reach: for transfers that must not use guest
/// memory as it lies. Not thread-safe.
/// </summary>
public sealed partial class AlignedBuffer : IDisposable
{
    private nint _address;

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>All of it.</summary>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public HostBuffer Buffer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return new HostBuffer(_address, Length);
        }
    }
}
