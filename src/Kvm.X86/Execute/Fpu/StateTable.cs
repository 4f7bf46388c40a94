// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>Control words, and saving and restoring of extended state.</summary>
internal static unsafe class StateTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code) => code switch
    {
        Code.Wait => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.Wait,
        Code.Fninit => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.Initialize,
        Code.Fnclex => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.ClearExceptions,
        Code.Fldcw_m2byte => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.LoadControl,
        Code.Fnstcw_m2byte => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.StoreControl,
        Code.Fnstsw_m2byte => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.StoreStatus,
        Code.Fnstsw_AX => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.StoreStatusAx,
        Code.Fnop => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.Nothing,
        Code.Fneni or Code.Fndisi or Code.Fnsetpm => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.NothingNoWait,
        Code.Ldmxcsr_m32 => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.LoadMxcsr,
        Code.Stmxcsr_m32 => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.StoreMxcsr,
        Code.Fxsave_m512byte or Code.Fxsave64_m512byte => (nint)(delegate*<Cpu*, Op*, bool>)&FxsaveHelpers.Save,
        Code.Fxrstor_m512byte or Code.Fxrstor64_m512byte => (nint)(delegate*<Cpu*, Op*, bool>)&FxsaveHelpers.Restore,
        Code.Xsave_mem or Code.Xsave64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XsaveHelpers.Save,
        Code.Xsaveopt_mem or Code.Xsaveopt64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XsaveHelpers.SaveOptimized,
        Code.Xsavec_mem or Code.Xsavec64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XsaveHelpers.SaveCompacted,
        Code.Xsaves_mem or Code.Xsaves64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XsaveHelpers.SaveSupervisor,
        Code.Xrstor_mem or Code.Xrstor64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XrstorHelpers.Restore,
        Code.Xrstors_mem or Code.Xrstors64_mem => (nint)(delegate*<Cpu*, Op*, bool>)&XrstorHelpers.RestoreSupervisor,
        _ => 0,
    };
}
