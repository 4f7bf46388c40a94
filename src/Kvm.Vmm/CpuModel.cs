namespace Kvm.Vmm;

/// <summary>Processors the software engine can show, by the levels of the x86-64 psABI.</summary>
public enum CpuModel
{
    /// <summary>x86-64-v2 with BMI, LZCNT and MOVBE: SSE4.2 and no wider vectors.</summary>
    V2,

    /// <summary>x86-64-v3: AVX, AVX2, FMA and F16C too.</summary>
    V3,
}
