namespace Kvm.X86.Engine;

/// <summary>What the engine needs of the host's processor that C# cannot say. Supplied by the host layer.</summary>
public interface IHostCode
{
    /// <summary>
    /// Atomically replaces sixteen bytes of host memory if they are equal to <paramref name="expected"/> (LOCK CMPXCHG16B). True if
    /// replaced; if not, <paramref name="expected"/> becomes what was there. Safe from any thread.
    /// </summary>
    /// <param name="address">Host address, a multiple of 16, of memory that can be written.</param>
    /// <param name="expected">Compared with memory.</param>
    /// <param name="value">Stored if equal.</param>
    bool CompareExchange128(nint address, ref UInt128 expected, UInt128 value);
}
