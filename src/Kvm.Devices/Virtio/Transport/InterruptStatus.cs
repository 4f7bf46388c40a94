using Kvm.Devices.Interrupts;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>
/// The two reasons for an interrupt and the level-triggered wire they drive (virtio 1.2, 4.1.4.5 and 4.2.2). Safe from any thread; its lock is
/// the innermost there is.
/// </summary>
internal sealed class InterruptStatus(IInterruptLine? line)
{
    public const byte Queue = 1, Config = 2;

    private readonly Lock _lock = new();
    private LineDriver _line = new(line);
    private byte _reasons;
    private bool _masked;

    /// <summary>What is pending.</summary>
    public byte Reasons
    {
        get
        {
            lock (_lock)
                return _reasons;
        }
    }

    /// <summary>Adds reasons.</summary>
    public void Raise(byte reasons)
    {
        lock (_lock)
        {
            _reasons |= reasons;
            Drive();
        }
    }

    /// <summary>Takes reasons away: what an acknowledgement does.</summary>
    public void Clear(byte reasons)
    {
        lock (_lock)
        {
            _reasons &= (byte)~reasons;
            Drive();
        }
    }

    /// <summary>Gives the reasons and takes them all away: what a read of PCI's ISR status does.</summary>
    public byte Take()
    {
        lock (_lock)
        {
            byte taken = _reasons;
            _reasons = 0;
            Drive();
            return taken;
        }
    }

    /// <summary>Keeps the wire low whatever is pending, or no longer.</summary>
    public void Mask(bool masked)
    {
        lock (_lock)
        {
            _masked = masked;
            Drive();
        }
    }

    /// <summary>Sets what is pending and drives the wire anew: after a restore nobody knows what its other end holds.</summary>
    public void Restore(byte reasons, bool masked)
    {
        lock (_lock)
        {
            (_reasons, _masked) = (reasons, masked);
            _line.Force(_reasons != 0 && !_masked);
        }
    }

    private void Drive() => _line.Set(_reasons != 0 && !_masked);
}
