using System.Globalization;
using Kvm.Interop;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>A vCPU's registers for people, when a run ends because of them.</summary>
internal static class RegisterDump
{
    /// <summary><paramref name="what"/>, then the registers, a few to a line. <paramref name="save"/> is an engine's; called on the vCPU's thread, outside the guest.</summary>
    public static string Describe(string what, Action<ArchitecturalState> save)
    {
        try
        {
            var state = new ArchitecturalState();
            save(state);
            return Describe(what, state);
        }
        catch (KvmException e)
        {
            return $"{what} (registers could not be read: {e.Message})";
        }
    }

    /// <summary>The same for a state already taken out of its processor.</summary>
    public static string Describe(string what, ArchitecturalState state)
    {
        var g = state.Gpr;
        return string.Create(CultureInfo.InvariantCulture, $"""
            {what}
            rip {state.Rip:x16} rflags {state.Rflags:x8} cs {state.Segments[1].Selector:x4} ss {state.Segments[2].Selector:x4} cr0 {state.Cr0:x8} cr2 {state.Cr2:x16} cr3 {state.Cr3:x} cr4 {state.Cr4:x} efer {state.Efer:x}
            rax {g[0]:x16} rbx {g[3]:x16} rcx {g[1]:x16} rdx {g[2]:x16} rsi {g[6]:x16} rdi {g[7]:x16}
            rsp {g[4]:x16} rbp {g[5]:x16} r8 {g[8]:x16} r9 {g[9]:x16} r10 {g[10]:x16} r11 {g[11]:x16}
            r12 {g[12]:x16} r13 {g[13]:x16} r14 {g[14]:x16} r15 {g[15]:x16}
            """);
    }
}
