using System.Runtime.InteropServices;

namespace Kvm.Vmm.Completion;

/// <summary>Comparing structures of the kernel, which have no padding of their own.</summary>
internal static class KvmStructs
{
    /// <summary>True if the two are the same to the byte.</summary>
    public static bool Same<T>(in T a, in T b) where T : unmanaged =>
        MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in a, 1)).SequenceEqual(MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in b, 1)));
}
