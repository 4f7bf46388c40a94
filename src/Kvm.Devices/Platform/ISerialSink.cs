namespace Kvm.Devices.Platform;

/// <summary>Where a serial port's output goes: a terminal, a file, a bounded log.</summary>
public interface ISerialSink
{
    /// <summary>
    /// Takes bytes in the order the guest sent them. Called on vCPU threads, one call at a time, with no register lock held:
    /// a slow sink delays the vCPU that writes, never the one that delivers input. Must not throw.
    /// </summary>
    void Write(ReadOnlySpan<byte> bytes);
}
