namespace Kvm.X86.Interrupts;

/// <summary>CPUID leaves that tell a guest of the machine's clocks: KVM's paravirtual ones (Linux Documentation/virt/kvm/x86/cpuid.rst) and the architectural 15H and 16H.</summary>
public static class KvmLeaves
{
    /// <summary>First leaf: the signature and the last leaf.</summary>
    public const uint Signature = 0x4000_0000;

    /// <summary>Second leaf: features.</summary>
    public const uint Features = 0x4000_0001;

    /// <summary>The timing leaf: TSC and bus frequency in kHz.</summary>
    public const uint Timing = 0x4000_0010;

    // Clock in the old registers (0) and the new (3), no delay needed after port I/O (1), a clock that never disagrees
    // between processors (24). Hypercall-based features are left out: nothing here answers VMCALL.
    private const uint FeatureBits = (1u << 0) | (1u << 1) | (1u << 3) | (1u << 24);

    /// <summary>Answers leaves 15H, 16H and 40000000H to 40000010H; false for others.</summary>
    public static bool TryRead(GuestClock clock, uint leaf, out uint eax, out uint ebx, out uint ecx, out uint edx)
    {
        ArgumentNullException.ThrowIfNull(clock);
        eax = ebx = ecx = edx = 0;
        switch (leaf)
        {
            case 0x15:
                // TSC frequency = crystal × EBX / EAX; the crystal is also the APIC timer's clock (SDM vol. 2, CPUID 15H).
                uint common = GreatestCommonDivisor(clock.TscFrequency, LocalApic.BusFrequency);
                eax = (uint)(LocalApic.BusFrequency / common);
                ebx = (uint)(clock.TscFrequency / common);
                ecx = (uint)LocalApic.BusFrequency;
                return true;
            case 0x16:
                eax = ebx = (uint)Math.Min(clock.TscFrequency / 1_000_000, ushort.MaxValue);
                ecx = 100;
                return true;
            case Signature:
                // "KVMKVMKVM" and three zero bytes.
                (eax, ebx, ecx, edx) = (Timing, 0x4b4d_564b, 0x564b_4d56, 0x4d);
                return true;
            case Features:
                eax = FeatureBits;
                return true;
            case Timing:
                (eax, ebx) = ((uint)(clock.TscFrequency / 1000), (uint)(LocalApic.BusFrequency / 1000));
                return true;
            default:
                return leaf is > Signature and < Timing;
        }
    }

    private static uint GreatestCommonDivisor(ulong a, ulong b)
    {
        while (b != 0)
            (a, b) = (b, a % b);
        return (uint)a;
    }
}
