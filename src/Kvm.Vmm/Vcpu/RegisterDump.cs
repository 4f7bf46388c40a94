using System.Globalization;
using Kvm.Interop;

namespace Kvm.Vmm.Vcpu;

/// <summary>A vCPU's registers for people, when a run ends because of them.</summary>
internal static class RegisterDump
{
    /// <summary><paramref name="what"/>, then the registers, a few to a line. Called on the vCPU's thread, outside the guest.</summary>
    public static string Describe(string what, KvmVcpu vcpu)
    {
        try
        {
            vcpu.GetRegs(out var r);
            vcpu.GetSregs(out var s);
            return string.Create(CultureInfo.InvariantCulture, $"""
                {what}
                rip {r.Rip:x16} rflags {r.Rflags:x8} cs {s.Cs.Selector:x4} ss {s.Ss.Selector:x4} cr0 {s.Cr0:x8} cr2 {s.Cr2:x16} cr3 {s.Cr3:x} cr4 {s.Cr4:x} efer {s.Efer:x}
                rax {r.Rax:x16} rbx {r.Rbx:x16} rcx {r.Rcx:x16} rdx {r.Rdx:x16} rsi {r.Rsi:x16} rdi {r.Rdi:x16}
                rsp {r.Rsp:x16} rbp {r.Rbp:x16} r8 {r.R8:x16} r9 {r.R9:x16} r10 {r.R10:x16} r11 {r.R11:x16}
                r12 {r.R12:x16} r13 {r.R13:x16} r14 {r.R14:x16} r15 {r.R15:x16}
                """);
        }
        catch (KvmException e)
        {
            return $"{what} (registers could not be read: {e.Message})";
        }
    }
}
