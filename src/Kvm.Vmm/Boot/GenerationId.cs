using Kvm.Devices.Memory;
using Kvm.Interop;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The VM generation id (Microsoft, "Virtual Machine Generation ID"): 16 bytes in guest memory, found by ACPI, that change whenever the guest goes on from a state that
/// another one may have gone on from too. A guest that is told makes its random numbers anew.
/// </summary>
internal static class GenerationId
{
    /// <summary>Bytes of it.</summary>
    public const int Size = 16;

    /// <summary>The general-purpose event by which the guest is told.</summary>
    public const int Event = 5;

    /// <summary>Writes a new one; the same one, zeros, in a run that is to repeat.</summary>
    public static void Write(GuestMemory memory, bool deterministic)
    {
        Span<byte> id = stackalloc byte[Size];
        id.Clear();
        if (!deterministic)
            // Not the framework's generator, which loads OpenSSL: 3 MiB of each machine's process.
            HostRandom.Fill(id);
        memory.TryWrite(MachineLayout.GenerationId, id);
    }
}
