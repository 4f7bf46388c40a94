namespace Kvm.X86.Translate;

/// <summary>Which guest registers live in host registers while translated code runs. The others stay in memory.</summary>
internal static class HostRegisters
{
    /// <summary>
    /// Host register of each guest register, or −1. RAX, RCX and RDX are scratch, RBX points to the processor, RSP is the host's.
    /// Guest RAX, RDX and RSP have those that need the fewest prefix bytes.
    /// </summary>
    public static ReadOnlySpan<sbyte> Of =>
    [
        Host.Rsi, Host.R8, Host.Rdi, Host.R9, Host.R11, Host.Rbp, Host.R14, Host.R15,
        Host.R10, -1, -1, -1, Host.R12, Host.R13, -1, -1,
    ];

    /// <summary>The host register a slot is in, or −1.</summary>
    public static int Find(int slot) => slot < 16 ? Of[slot] : -1;
}
