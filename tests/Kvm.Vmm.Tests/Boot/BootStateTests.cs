using Kvm.Vmm.Boot;

namespace Kvm.Vmm.Tests.Boot;

public class BootStateTests
{
    [Fact]
    public void The_64_bit_state_is_what_the_boot_protocol_asks_for()
    {
        var s = BootState.Linux64(0x100_0000);
        (s.Rip, s.Rsi, s.Rflags, s.Cr0, s.Cr4, s.Efer).Should().Be((0x100_0000, MachineLayout.ZeroPage, 2, 0x8005_0033, 0x20, 0x500));
        s.Code.ToDescriptor().Should().Be(0x00af_9b00_0000_ffff);
        s.Data.ToDescriptor().Should().Be(0x00cf_9300_0000_ffff);
        (s.Code.Selector, s.Data.Selector).Should().Be(((ushort)0x10, (ushort)0x18));
    }

    [Fact]
    public void The_PVH_state_has_only_PE_and_start_info_in_EBX()
    {
        var s = BootState.Pvh32(0x10_0000);
        (s.Rip, s.Rbx, s.Cr0, s.Cr4, s.Efer, s.Rflags).Should().Be((0x10_0000, MachineLayout.StartInfo, 0x11, 0, 0, 2));
        s.Code.ToDescriptor().Should().Be(0x00cf_9b00_0000_ffff);
        s.Task.ToDescriptor().Should().Be(0x0000_8b00_0000_0067);
    }

    [Fact]
    public void The_Multiboot_state_has_the_magic_in_EAX() =>
        BootState.Multiboot32(0x10_0000).Should().Match<BootState>(s => s.Rax == 0x2badb002 && s.Rbx == MachineLayout.StartInfo && s.Cr0 == 0x11);

    [Fact]
    public void The_32_bit_Linux_state_has_the_zero_page_in_ESI() =>
        BootState.Linux32(0x10_0000).Should().Match<BootState>(s => s.Rsi == MachineLayout.ZeroPage && s.Rbx == 0 && s.Cr0 == 0x11 && s.Efer == 0);
}
