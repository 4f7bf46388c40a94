using Iced.Intel;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Paging;

public sealed class DirtyPagesTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Pages_that_guest_code_writes_are_noted_and_pages_that_it_reads_are_not(int translateAfter)
    {
        using var rig = new SoftRig(translateAfter: translateAfter);
        rig.Machine.TrackWrites();
        var pages = new List<ulong>();
        rig.Machine.Dirty!.Take(pages);
        pages.Clear();
        rig.Run(a =>
        {
            var top = a.CreateLabel();
            a.mov(rsi, EngineRig.Data);
            a.mov(ecx, 50);
            a.Label(ref top);
            a.mov(eax, __dword_ptr[rsi + 0x3000]);
            a.mov(__dword_ptr[rsi], eax);
            a.add(__dword_ptr[rsi + 0x1000], eax);
            a.dec(ecx);
            a.jne(top);
            a.@out(SoftRig.EndPort, al);
        });
        rig.Machine.Dirty.Take(pages);
        pages.Should().Contain([EngineRig.Data, EngineRig.Data + 0x1000]).And.NotContain(EngineRig.Data + 0x3000);
        pages.Should().BeInAscendingOrder();
    }

    [Fact]
    public void Writes_of_devices_are_noted_by_their_ranges()
    {
        using var rig = new SoftRig();
        rig.Machine.TrackWrites();
        var pages = new List<ulong>();
        rig.Machine.Dirty!.Take(pages);
        pages.Clear();
        rig.Memory.Memory.TryWrite(EngineRig.Data + 0xffe, new byte[4]).Should().BeTrue();
        rig.Machine.Dirty.Take(pages);
        pages.Should().Equal(EngineRig.Data, EngineRig.Data + 0x1000);
        rig.Machine.Dirty.Mark(ulong.MaxValue, ulong.MaxValue);
        rig.Machine.Dirty.Contains(0xf000_0000_0000).Should().BeFalse();
    }
}
