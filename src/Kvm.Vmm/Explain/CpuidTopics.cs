namespace Kvm.Vmm.Explain;

/// <summary>Leaves of CPUID (SDM vol. 2, CPUID; APM vol. 3, appendix E; hypervisors' own from 0x40000000 on).</summary>
internal static class CpuidTopics
{
    private const string Sdm = "SDM vol. 2, CPUID";
    private const string Apm = "APM vol. 3, appendix E";
    private const string Linux = "Linux, Documentation/virt/kvm/x86/cpuid.rst";

    public static IReadOnlyList<Topic> All { get; } =
    [
        Of(0x0, "CPUID_VENDOR", "The highest leaf and the vendor's name in EBX, EDX, ECX.", Sdm),
        Of(0x1, "CPUID_FEATURES", "Family, model, stepping; APIC id; features. ECX bit 31 says that a hypervisor is there.", Sdm,
            "The APIC id and OSXSAVE are each vCPU's own; a VMM sets bit 31 and clears what it does not offer."),
        Of(0x2, "CPUID_CACHE_DESCRIPTORS", "Caches and TLBs by code numbers.", Sdm),
        Of(0x4, "CPUID_CACHE_PARAMETERS", "Each cache: size, ways, who shares it.", Sdm, "Sharing has to fit the guest's processors, not the host's."),
        Of(0x5, "CPUID_MONITOR", "The line that MONITOR watches.", Sdm, "Cleared with MONITOR."),
        Of(0x6, "CPUID_POWER", "Temperature, turbo, APERF and MPERF.", Sdm),
        Of(0x7, "CPUID_EXTENDED_FEATURES", "Features since 2013: BMI, AVX2, SMEP, SMAP, AVX-512, speculation controls.", Sdm),
        Of(0x9, "CPUID_DCA", "Direct cache access.", Sdm),
        Of(0xa, "CPUID_PERFORMANCE", "How many performance counters there are.", Sdm, "Zero where the guest has none."),
        Of(0xb, "CPUID_TOPOLOGY", "Threads and cores by bits of the x2APIC id.", Sdm, "Made for the guest's own processors; EDX is each vCPU's x2APIC id."),
        Of(0xd, "CPUID_XSAVE", "Parts of the extended state, their sizes and places.", Sdm, "The size for the current XCR0 changes when the guest writes it."),
        Of(0xf, "CPUID_RDT_MONITORING", "Monitoring of caches and memory.", Sdm),
        Of(0x10, "CPUID_RDT_ALLOCATION", "Allocation of caches and memory.", Sdm),
        Of(0x12, "CPUID_SGX", "Enclaves.", Sdm),
        Of(0x14, "CPUID_PROCESSOR_TRACE", "Processor trace.", Sdm),
        Of(0x15, "CPUID_TSC", "The time-stamp counter's frequency as a fraction of the crystal's.", Sdm, "Told, so that the guest does not measure it."),
        Of(0x16, "CPUID_FREQUENCY", "Frequencies in MHz.", Sdm),
        Of(0x17, "CPUID_SOC", "Vendor attributes of a system on a chip.", Sdm),
        Of(0x18, "CPUID_TLB", "Translation caches.", Sdm),
        Of(0x19, "CPUID_KEY_LOCKER", "Key Locker.", Sdm),
        Of(0x1a, "CPUID_HYBRID", "What kind of core this is.", Sdm),
        Of(0x1d, "CPUID_TILE", "Tiles of AMX.", Sdm),
        Of(0x1f, "CPUID_TOPOLOGY_V2", "As leaf 0xb, with modules, tiles and dies.", Sdm),
        Of(0x4000_0000, "CPUID_HYPERVISOR", "The highest hypervisor leaf and its name: KVMKVMKVM, or Microsoft Hv.", Linux, "How a guest knows that it is one."),
        Of(0x4000_0001, "CPUID_KVM_FEATURES", "What KVM offers: kvmclock, asynchronous page faults, steal time, IPIs and yields by hypercall.", Linux,
            "Hypercall features are cleared where a hypercall would never return."),
        Of(0x4000_0010, "CPUID_TIMING", "Frequencies of time-stamp counter and APIC timer in kHz.", "VMware, “Mechanisms to determine if software is running in a VMware virtual machine”"),
        Of(0x8000_0000, "CPUID_EXTENDED_MAX", "The highest extended leaf.", Apm),
        Of(0x8000_0001, "CPUID_EXTENDED_AMD", "SYSCALL, NX, 1 GiB pages, RDTSCP, long mode; SVM in ECX bit 2.", Apm),
        Of(0x8000_0002, "CPUID_BRAND_#", "The name of the processor, 16 characters of 48.", Apm, count: 3),
        Of(0x8000_0005, "CPUID_L1", "First-level caches and TLBs.", Apm),
        Of(0x8000_0006, "CPUID_L2", "Second- and third-level caches.", Apm),
        Of(0x8000_0007, "CPUID_POWER_AMD", "Whether the time-stamp counter is invariant (EDX bit 8).", Apm),
        Of(0x8000_0008, "CPUID_ADDRESS_SIZES", "Physical and linear address bits; number of threads.", Apm, "Guest memory has to fit the physical bits told here."),
        Of(0x8000_000a, "CPUID_SVM", "What SVM can do: nested paging, decode assists, AVIC.", Apm),
        Of(0x8000_0019, "CPUID_TLB_1G", "Translations of 1 GiB pages.", Apm),
        Of(0x8000_001d, "CPUID_CACHE_AMD", "Each cache: size, ways, who shares it.", Apm),
        Of(0x8000_001e, "CPUID_TOPOLOGY_AMD", "Core and node.", Apm),
        Of(0x8000_001f, "CPUID_SEV", "Memory encryption.", Apm),
        Of(0x8000_0021, "CPUID_EXTENDED_FEATURES_2", "More features of AMD's: LFENCE serializes, automatic IBRS.", Apm),
    ];

    private static Topic Of(ulong number, string name, string meaning, string clause, string? vmm = null, ulong count = 1) =>
        new(TopicTable.CpuidLeaf, number, name, meaning) { Clause = clause, Vmm = vmm, Count = count };
}
