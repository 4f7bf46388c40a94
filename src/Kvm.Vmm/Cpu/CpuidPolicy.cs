using Kvm.Interop;

namespace Kvm.Vmm.Cpu;

/// <summary>
/// What a vCPU may see of the processor: KVM's supported leaves, made one vCPU's own, with what this host's KVM cannot
/// run for a guest kernel taken out. Leaf and bit numbers are those of the SDM, vol. 2, CPUID.
/// </summary>
internal static class CpuidPolicy
{
    private const uint Leaf1EcxMonitor = 1u << 3;
    private const uint Leaf1EcxVmx = 1u << 5;
    private const uint Leaf1EcxCmpxchg16b = 1u << 13;
    private const uint Leaf1EcxX2Apic = 1u << 21;
    private const uint Leaf1EcxPopcnt = 1u << 23;
    private const uint Leaf1EcxTscDeadline = 1u << 24;
    private const uint Leaf1EcxHypervisor = 1u << 31;
    private const uint Leaf1EdxHtt = 1u << 28;
    private const uint Leaf7EbxSmap = 1u << 20;
    private const uint ExtendedEcxSvm = 1u << 2;

    /// <summary>
    /// KVM paravirtual features (Documentation/virt/kvm/x86/cpuid.rst) whose hypercalls a KVM that interprets kernels
    /// never returns from: PV_UNHALT, PV_TLB_FLUSH, PV_SEND_IPI, PV_SCHED_YIELD, HC_MAP_GPA_RANGE, MIGRATION_CONTROL.
    /// </summary>
    private const uint HypercallFeatures = 1u << 7 | 1u << 9 | 1u << 11 | 1u << 13 | 1u << 16 | 1u << 17;

    /// <summary>Facts the policy is made from.</summary>
    /// <param name="Cpus">vCPUs of the machine, 1 to 254.</param>
    /// <param name="TscKhz">Frequency of the guest's TSC; 0 if KVM does not tell.</param>
    /// <param name="TscDeadline">KVM_CAP_TSC_DEADLINE_TIMER.</param>
    /// <param name="GivesUpOnInstructions">The probe found instructions that KVM does not run for a guest kernel.</param>
    /// <param name="Nested">Leave VMX or SVM visible.</param>
    internal readonly record struct Facts(int Cpus, uint TscKhz, bool TscDeadline, bool GivesUpOnInstructions, bool Nested);

    /// <summary>The leaves KVM offers; with <paramref name="hyperV"/>, Hyper-V's come first and KVM's own move up (Linux's kvm/x86/hyperv documentation).</summary>
    public static KvmCpuidEntry2[] Supported(KvmSystem system, bool hyperV)
    {
        var leaves = system.GetSupportedCpuid();
        if (!hyperV)
            return leaves;
        const uint kvmBase = 0x40000000, moved = 0x100;
        var own = leaves.Select(e => e.Function is kvmBase or kvmBase + 1 ? e with { Function = e.Function + moved } : e);
        return [.. own, .. system.GetSupportedHvCpuid()];
    }

    /// <summary>Refuses <c>--nested</c> where KVM offers neither VMX nor SVM.</summary>
    /// <exception cref="VmmException">It does not.</exception>
    public static void RequireNested(bool nested, ReadOnlySpan<KvmCpuidEntry2> supported)
    {
        if (!nested)
            return;
        foreach (ref readonly var e in supported)
        {
            if ((e.Function == 1 && (e.Ecx & Leaf1EcxVmx) != 0) || (e.Function == 0x80000001 && (e.Ecx & ExtendedEcxSvm) != 0))
                return;
        }

        throw new VmmException(HostErrors.NoNested, "KVM_GET_SUPPORTED_CPUID has neither VMX (leaf 1, ECX bit 5) nor SVM (leaf 0x80000001, ECX bit 2)");
    }

    /// <summary>The leaves of vCPU <paramref name="index"/>.</summary>
    public static KvmCpuidEntry2[] ForVcpu(ReadOnlySpan<KvmCpuidEntry2> supported, int index, in Facts facts)
    {
        var leaves = new List<KvmCpuidEntry2>(supported.Length + 4);
        foreach (var entry in supported)
        {
            var e = entry;
            Adjust(ref e, index, facts);
            // Topology leaves are built below; KVM reports the host's.
            if (e.Function is not (0xb or 0x1f or 0x15 or 0x16))
                leaves.Add(e);
        }

        AddTopology(leaves, index, facts.Cpus);
        AddFrequencies(leaves, facts.TscKhz);
        return [.. leaves];
    }

    private static void Adjust(ref KvmCpuidEntry2 e, int index, in Facts facts)
    {
        switch (e.Function)
        {
            case 1:
                e.Ebx = (e.Ebx & 0x0000ffff) | (uint)index << 24 | (uint)Math.Min(facts.Cpus, 255) << 16;
                e.Ecx |= Leaf1EcxHypervisor | Leaf1EcxX2Apic;
                e.Ecx &= ~Leaf1EcxMonitor;
                if (facts.TscDeadline)
                    e.Ecx |= Leaf1EcxTscDeadline;
                if (!facts.Nested)
                    e.Ecx &= ~Leaf1EcxVmx;
                if (facts.GivesUpOnInstructions)
                    e.Ecx &= ~(Leaf1EcxCmpxchg16b | Leaf1EcxPopcnt);
                e.Edx = facts.Cpus > 1 ? e.Edx | Leaf1EdxHtt : e.Edx & ~Leaf1EdxHtt;
                break;
            case 7 when e.Index == 0 && facts.GivesUpOnInstructions:
                e.Ebx &= ~Leaf7EbxSmap;
                break;
            case 4:
                // Threads sharing a cache and cores in the package: every vCPU is a core of its own with its own caches.
                e.Eax &= ~(0xfffu << 14 | 0x3fu << 26);
                break;
            case 0x40000001 when facts.GivesUpOnInstructions:
                e.Eax &= ~HypercallFeatures;
                break;
            case 0x80000001 when !facts.Nested:
                e.Ecx &= ~ExtendedEcxSvm;
                break;
            case 0x80000008:
                // ECX[7:0]: cores less one; ECX[15:12]: width of the core part of the APIC id (APM vol. 3, E.4.7).
                e.Ecx = (uint)(facts.Cpus - 1) & 0xff | BitsFor(facts.Cpus) << 12;
                break;
        }
    }

    /// <summary>Leaf 0xB: one thread a core, all cores in one package (SDM vol. 2, leaf 0BH).</summary>
    private static void AddTopology(List<KvmCpuidEntry2> leaves, int index, int cpus)
    {
        const uint threadLevel = 1, coreLevel = 2;
        leaves.Add(Leaf(0xb, 0, 0, 1, threadLevel << 8, (uint)index, indexed: true));
        leaves.Add(Leaf(0xb, 1, BitsFor(cpus), (uint)cpus, coreLevel << 8 | 1, (uint)index, indexed: true));
    }

    /// <summary>Leaves 0x15 and 0x16, so that no guest measures its TSC by waiting: crystal 1 MHz × (TSC MHz ÷ 1).</summary>
    private static void AddFrequencies(List<KvmCpuidEntry2> leaves, uint tscKhz)
    {
        if (tscKhz == 0)
            return;
        leaves.Add(Leaf(0x15, 0, 1000, tscKhz, 1_000_000, 0));
        leaves.Add(Leaf(0x16, 0, tscKhz / 1000, tscKhz / 1000, 100, 0));
        for (int i = 0; i < leaves.Count; i++)
        {
            if (leaves[i].Function == 0 && leaves[i].Eax < 0x16)
                leaves[i] = leaves[i] with { Eax = 0x16 };
        }
    }

    private static KvmCpuidEntry2 Leaf(uint function, uint index, uint eax, uint ebx, uint ecx, uint edx, bool indexed = false) => new()
    {
        Function = function,
        Index = index,
        Flags = indexed ? KvmConst.KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        Eax = eax,
        Ebx = ebx,
        Ecx = ecx,
        Edx = edx,
    };

    /// <summary>Bits that number <paramref name="count"/> things.</summary>
    private static uint BitsFor(int count) => count <= 1 ? 0 : (uint)System.Numerics.BitOperations.Log2((uint)(count - 1)) + 1;
}
