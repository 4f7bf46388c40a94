// Invariants: what Resolve returns is the address of a static method of this assembly with the helper's signature.
using Iced.Intel;

namespace Kvm.X86.Execute;

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
    public static nint Resolve(Code code)
    {
        nint helper = ProtectionHelpers.Resolve(code);
        return helper != 0 ? helper : Simd.VectorFamilies.Resolve(code);
    }
}
