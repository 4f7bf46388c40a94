using Kvm.Devices.Net;

namespace Kvm.Devices.Tests.Net;

public sealed class MacAddressTests
{
    [Theory]
    [InlineData("52:54:00:12:34:56", 0x5254_0012_3456UL)]
    [InlineData("FF-ff-FF-ff-FF-ff", 0xffff_ffff_ffffUL)]
    [InlineData("00:00:00:00:00:01", 1UL)]
    public void Text_is_understood(string text, ulong value)
    {
        MacAddress.TryParse(text, out var address).Should().BeTrue();
        address.Value.Should().Be(value);
        address.ToString().Should().Be(text.ToLowerInvariant().Replace('-', ':'));
        byte[] bytes = new byte[6];
        address.Write(bytes);
        MacAddress.Read(bytes).Should().Be(address);
    }

    [Theory]
    [InlineData("")]
    [InlineData("52:54:00:12:34")]
    [InlineData("52:54:00:12:34:5")]
    [InlineData("52:54:00:12:34:567")]
    [InlineData("52:54:00:12:34:5g")]
    [InlineData("52:54:00:12:34.56")]
    [InlineData("+2:54:00:12:34:56")]
    [InlineData(" 2:54:00:12:34:56")]
    public void Text_that_is_no_address_is_refused(string text) => MacAddress.TryParse(text, out _).Should().BeFalse();

    [Theory]
    [InlineData(0UL, false, false)]
    [InlineData(0x5254_0012_3456UL, false, true)]
    [InlineData(0x0100_5e00_0001UL, true, false)]
    [InlineData(0xffff_ffff_ffffUL, true, false)]
    public void Card_has_neither_a_group_s_address_nor_none(ulong value, bool group, bool usable) =>
        (new MacAddress(value).IsGroup, new MacAddress(value).IsUsable).Should().Be((group, usable));
}
