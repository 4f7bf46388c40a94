// Invariants: what Resolve returns is the address of a static method of this assembly with the helper's signature.
using Iced.Intel;

namespace Kvm.X86.Execute;

/// <summary>How a helper is called.</summary>
internal enum HelperKind
{
    /// <summary>In the middle of a block.</summary>
    Plain,

    /// <summary>Ends the block: it may change RIP, the mode, or what may be fetched or interrupted.</summary>
    Ends,

    /// <summary>A string instruction: it may stop between iterations.</summary>
    Repeats,
}

/// <summary>
/// Finds the helper of an instruction. Asked at decode time only: each family answers from a <c>switch</c> over
/// <see cref="Code"/>, so nothing is initialised before it is needed.
/// </summary>
/// <remarks>
/// A helper is <c>static bool Name(Cpu* cpu, Op* op)</c>. True: done. False: a fault is recorded by <see cref="Fault"/> and
/// nothing architectural has changed. It does not advance RIP.
/// </remarks>
internal static unsafe class HelperTable
{
    /// <summary>The helper's address, or 0 if no family knows the instruction (#UD then).</summary>
    public static nint Resolve(Code code) => Resolve(code, out _);

    /// <summary>The same, with how the helper is to be called.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        nint helper;
        if ((helper = FlagHelpers.Resolve(code, out kind)) != 0 || (helper = StringHelpers.Resolve(code, out kind)) != 0
            || (helper = PortHelpers.Resolve(code, out kind)) != 0 || (helper = SystemHelpers.Resolve(code, out kind)) != 0
            || (helper = SegmentHelpers.Resolve(code, out kind)) != 0 || (helper = EventHelpers.Resolve(code, out kind)) != 0)
            return helper;
        kind = HelperKind.Plain;
        if ((helper = MiscHelpers.Resolve(code)) != 0)
            return helper;
        helper = ProtectionHelpers.Resolve(code);
        return helper != 0 ? helper : Simd.VectorFamilies.Resolve(code);
    }

    /// <summary>Helpers asked for by what they do.</summary>
    public static nint Address(BranchHelper helper) => BranchHelpers.Address(helper);
}
