// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Execute.Fpu;

namespace Kvm.X86.Execute.Simd;

/// <summary>The families of floating point, vector and extended-state instructions, for <see cref="HelperTable"/>.</summary>
internal static class VectorFamilies
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = MoveTable.Resolve(code)) != 0)
            return helper;
        if ((helper = IntegerTable.Resolve(code)) != 0)
            return helper;
        if ((helper = StateTable.Resolve(code)) != 0)
            return helper;
        if ((helper = FloatTable.Resolve(code)) != 0)
            return helper;
        if ((helper = PermuteTable.Resolve(code)) != 0)
            return helper;
        if ((helper = X87Table.Resolve(code)) != 0)
            return helper;
        return ResolveVex(code);
    }

    private static nint ResolveVex(Code code)
    {
        nint helper;
        if ((helper = VexIntegerTable.Resolve(code)) != 0)
            return helper;
        if ((helper = VexFloatTable.Resolve(code)) != 0)
            return helper;
        if ((helper = VexPermuteTable.Resolve(code)) != 0)
            return helper;
        if ((helper = LaneTable.Resolve(code)) != 0)
            return helper;
        return FusedTable.Resolve(code);
    }
}
