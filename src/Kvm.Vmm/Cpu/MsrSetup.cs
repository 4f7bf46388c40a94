using Kvm.Interop;

namespace Kvm.Vmm.Cpu;

/// <summary>Model-specific registers as firmware leaves them (SDM vol. 4). What a KVM refuses is left as it is.</summary>
internal static class MsrSetup
{
    private const uint MiscEnable = 0x1a0;
    private const uint MtrrDefType = 0x2ff;

    /// <summary>Fast strings on: firmware's setting, which Linux looks for before it uses <c>rep movsb</c>.</summary>
    private const ulong FastStrings = 1;

    /// <summary>MTRRs on, everything write-back: without it Linux warns that firmware left caches off.</summary>
    private const ulong MtrrEnabledWriteBack = 1 << 11 | 6;

    /// <summary>Sets the registers of one fresh vCPU.</summary>
    public static void Apply(KvmVcpu vcpu)
    {
        vcpu.TrySetMsr(MiscEnable, FastStrings);
        vcpu.TrySetMsr(MtrrDefType, MtrrEnabledWriteBack);
    }
}
