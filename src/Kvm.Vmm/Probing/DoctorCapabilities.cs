using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>Which of KVM's capabilities this program needs, which it uses where they are, and what this KVM has.</summary>
internal static class DoctorCapabilities
{
    /// <summary>Without these no machine can be built. Every KVM since Linux 4.13 has them.</summary>
    public static readonly KvmCap[] Needed =
    [
        KvmCap.KVM_CAP_IRQCHIP, KvmCap.KVM_CAP_USER_MEMORY, KvmCap.KVM_CAP_SET_TSS_ADDR, KvmCap.KVM_CAP_EXT_CPUID,
        KvmCap.KVM_CAP_MP_STATE, KvmCap.KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KvmCap.KVM_CAP_IRQ_ROUTING, KvmCap.KVM_CAP_PIT2,
        KvmCap.KVM_CAP_SET_IDENTITY_MAP_ADDR, KvmCap.KVM_CAP_XSAVE, KvmCap.KVM_CAP_XCRS, KvmCap.KVM_CAP_VCPU_EVENTS, KvmCap.KVM_CAP_IMMEDIATE_EXIT,
    ];

    /// <summary>Used where they are; without one something is slower or cannot be asked for.</summary>
    public static readonly KvmCap[] Useful =
    [
        KvmCap.KVM_CAP_CLOCKSOURCE, KvmCap.KVM_CAP_IRQFD, KvmCap.KVM_CAP_IOEVENTFD, KvmCap.KVM_CAP_SIGNAL_MSI, KvmCap.KVM_CAP_TSC_DEADLINE_TIMER,
        KvmCap.KVM_CAP_GET_TSC_KHZ, KvmCap.KVM_CAP_SYNC_REGS, KvmCap.KVM_CAP_READONLY_MEM, KvmCap.KVM_CAP_INTERNAL_ERROR_DATA,
        KvmCap.KVM_CAP_SET_GUEST_DEBUG, KvmCap.KVM_CAP_X86_USER_SPACE_MSR, KvmCap.KVM_CAP_X86_MSR_FILTER,
    ];

    /// <summary>Every capability, with what this KVM says of it.</summary>
    public static IReadOnlyList<DoctorCapability> List(KvmSystem system)
    {
        var list = new List<DoctorCapability>();
        foreach (var info in KvmCaps.All)
            list.Add(new DoctorCapability(info.Name, system.CheckExtension(info.Cap), info.Gives, Needed.Contains(info.Cap) || Useful.Contains(info.Cap)));
        return list;
    }

    /// <summary>The check of all of them.</summary>
    public static DoctorCheck Check(IReadOnlyList<DoctorCapability> capabilities)
    {
        var finding = $"{capabilities.Count(c => c.Value > 0)} of {capabilities.Count} known ones";
        if (Missing(capabilities, Needed) is { Count: > 0 } needed)
        {
            return new DoctorCheck("capabilities", "Capabilities", DoctorStatus.Failed, finding)
            {
                Cause = $"missing: {string.Join(", ", needed)}",
                Fix = "Use a newer kernel; Linux 4.13 is the oldest that has them all.",
            };
        }

        return Missing(capabilities, Useful) is { Count: > 0 } useful
            ? new DoctorCheck("capabilities", "Capabilities", DoctorStatus.Warning, finding) { Cause = $"missing, used where they are: {string.Join(", ", useful)}" }
            : new DoctorCheck("capabilities", "Capabilities", DoctorStatus.Ok, finding);
    }

    private static List<string> Missing(IReadOnlyList<DoctorCapability> capabilities, KvmCap[] wanted)
    {
        var there = capabilities.Where(c => c.Value > 0).Select(c => c.Name).ToHashSet();
        return [.. wanted.Select(KvmCaps.NameOf).Where(name => !there.Contains(name))];
    }
}
