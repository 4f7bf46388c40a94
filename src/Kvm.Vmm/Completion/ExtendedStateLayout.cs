using System.Runtime.Intrinsics.X86;
using Kvm.X86.Execute.Fpu;

namespace Kvm.Vmm.Completion;

/// <summary>What completion must know of the host's processor: where XSAVE components lie, and how wide physical addresses are.</summary>
/// <param name="Components">Layout of the XSAVE area (CPUID leaf 0DH); null where there is no XSAVE.</param>
/// <param name="PhysicalAddressBits">CPUID leaf 80000008H, EAX[7:0].</param>
internal sealed record ExtendedStateLayout(XsaveLayout? Components, int PhysicalAddressBits)
{
    private const int XsaveLeaf = 0xd;

    /// <summary>Asks the processor this program runs on, whose layout KVM's vCPUs have.</summary>
    public static ExtendedStateLayout OfHost()
    {
        if (!X86Base.IsSupported)
            return new ExtendedStateLayout(null, 36);
        int width = (uint)X86Base.CpuId(unchecked((int)0x80000000), 0).Eax >= 0x80000008
            ? X86Base.CpuId(unchecked((int)0x80000008), 0).Eax & 0xff
            : 36;
        return new ExtendedStateLayout(X86Base.CpuId(0, 0).Eax >= XsaveLeaf ? new XsaveLayout(SubLeaves()) : null, width);
    }

    /// <summary>Sub-leaves 2 to 62: size, offset, and ECX bit 0 supervisor, bit 1 aligned in compacted format (SDM vol. 1, 13.2).</summary>
    private static IEnumerable<XsaveComponent> SubLeaves()
    {
        for (int number = 2; number < 63; number++)
        {
            var (size, offset, flags, _) = X86Base.CpuId(XsaveLeaf, number);
            if (size != 0)
                yield return new XsaveComponent(number, offset, size, (flags & 2) != 0, (flags & 1) != 0);
        }
    }
}
