using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts;

/// <summary>SDM vol. 3, 11.11: message address and data.</summary>
public sealed class MsiRouterTests
{
    private readonly ApicRig _rig = new(4);
    private readonly MsiRouter _msi;

    public MsiRouterTests()
    {
        _msi = new MsiRouter(_rig.Bus);
        for (int i = 0; i < 4; i++)
            _rig.Write(i, ApicRig.Ldr, 1u << (24 + i));
    }

    private int[] Holders(byte vector) => [.. Enumerable.Range(0, 4).Where(i => _rig.Requested(i, vector))];

    [Theory]
    [InlineData(0xfee0_2000UL, new[] { 2 })]
    [InlineData(0xfeef_f000UL, new[] { 0, 1, 2, 3 })]
    [InlineData(0xfee0_a004UL, new[] { 1, 3 })]
    [InlineData(0xfee0_9000UL, new int[0])]
    public void SDM_11_11_1_The_address_names_the_destination(ulong address, int[] holders)
    {
        _msi.Send(address, 0x61);
        Holders(0x61).Should().Equal(holders);
        _msi.Dropped.Should().Be(holders.Length == 0 ? 1 : 0);
    }

    [Theory]
    [InlineData(0xfee0_a00cUL, 0x61u)]
    [InlineData(0xfee0_a004UL, 0x161u)]
    public void SDM_11_11_1_Redirection_hint_and_lowest_priority_reach_one_of_the_destination(ulong address, uint data)
    {
        _msi.Send(address, data);
        Holders(0x61).Should().ContainSingle().Which.Should().BeOneOf(1, 3);
    }

    [Fact]
    public void SDM_11_11_2_A_level_message_asks_for_the_EOI()
    {
        _msi.Send(0xfee0_0000, 0xc061);
        (_rig.Read(ApicRig.Tmr + 0x30) & 2).Should().Be(2);
        _msi.Send(0xfee0_0000, 0x8071);
        Holders(0x71).Should().BeEmpty("a de-assertion is not an interrupt");
    }

    [Fact]
    public void SDM_11_11_2_An_NMI_message_is_one()
    {
        _msi.Send(0xfee0_1000, 0x400);
        _rig.Apics[1].TakeNmi().Should().BeTrue();
    }

    [Theory]
    [InlineData(0x0UL)]
    [InlineData(0xfed0_0000UL)]
    [InlineData(0xfef0_0000UL)]
    [InlineData(0x1_fee0_0000UL)]
    [InlineData(ulong.MaxValue)]
    public void An_address_that_is_no_interrupts_is_dropped(ulong address)
    {
        _msi.Send(address, 0x61);
        Holders(0x61).Should().BeEmpty();
        _msi.Dropped.Should().Be(1);
    }

    [Fact]
    public void Any_message_never_throws()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<uint>(), ArbMap.Default.ArbFor<uint>(), (address, data) =>
        {
            _msi.Send(0xfee0_0000 | (address & 0xfffff), data);
            _msi.Send(address, data);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Encoding_and_decoding_agree()
    {
        var message = new ApicMessage(3, true, ApicDelivery.LowestPriority, 0x55, LevelTriggered: true, RedirectionHint: true);
        var (address, data) = MsiRouter.Encode(message);
        MsiRouter.TryDecode(address, data, out var decoded).Should().BeTrue();
        decoded.Should().Be(message);
        var everyone = new ApicMessage(ApicMessage.Broadcast, false, ApicDelivery.Fixed, 0x20);
        (address, data) = MsiRouter.Encode(everyone);
        MsiRouter.TryDecode(address, data, out decoded).Should().BeTrue();
        decoded.Should().Be(everyone);
    }
}
