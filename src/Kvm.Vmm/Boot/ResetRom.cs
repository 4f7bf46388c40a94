namespace Kvm.Vmm.Boot;

/// <summary>
/// What is at the reset vector. There is no firmware: kernels are entered directly. A boot processor that comes here was
/// reset by the guest (INIT to itself, a jump to the vector), so the code asks the keyboard controller for a reset, the way
/// the machine ends as "reboot".
/// </summary>
internal static class ResetRom
{
    /// <summary>Offset of CS:IP after a reset: base 0xFFFF0000, IP 0xFFF0 (SDM vol. 3, 9.1.4).</summary>
    private const int Vector = 0xff0;

    /// <summary>mov al, 0xfe; out 0x64, al; again: hlt; jmp again. The rest is HLT, so that no other entry runs wild.</summary>
    private static ReadOnlySpan<byte> Code => [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];

    /// <summary>Fills the page of <see cref="MachineLayout.ResetRom"/>.</summary>
    public static void Write(Span<byte> page)
    {
        const byte halt = 0xf4;
        page.Fill(halt);
        Code.CopyTo(page[Vector..]);
    }
}
