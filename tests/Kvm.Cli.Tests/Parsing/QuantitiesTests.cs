using Kvm.Cli.Parsing;
using Kvm.Vmm;

namespace Kvm.Cli.Tests.Parsing;

public class QuantitiesTests
{
    [Theory]
    [InlineData("0", 0UL)]
    [InlineData("4096", 4096UL)]
    [InlineData("1k", 1024UL)]
    [InlineData("256M", 256UL << 20)]
    [InlineData("256MiB", 256UL << 20)]
    [InlineData("2g", 2UL << 30)]
    [InlineData("3T", 3UL << 40)]
    [InlineData("18446744073709551615", ulong.MaxValue)]
    public void A_whole_number_with_or_without_a_unit_is_a_size(string text, ulong expected)
    {
        Quantities.TryParseSize(text, out var bytes).Should().BeTrue();
        bytes.Should().Be(expected);
    }

    [Theory]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("iB")]
    [InlineData("MiB")]
    [InlineData("-1M")]
    [InlineData("+1M")]
    [InlineData("1.5G")]
    [InlineData("1 M")]
    [InlineData(" 1M")]
    [InlineData("12iB")]
    [InlineData("1MB")]
    [InlineData("0x10")]
    [InlineData("18446744073709551616")]
    [InlineData("16777216T")]
    [InlineData("1P")]
    public void Anything_else_is_no_size(string text) => Quantities.TryParseSize(text, out _).Should().BeFalse();

    [Theory]
    [InlineData("500ms", 500)]
    [InlineData("10s", 10_000)]
    [InlineData("2m", 120_000)]
    [InlineData("1h", 3_600_000)]
    [InlineData("0s", 0)]
    public void A_whole_number_with_a_unit_is_a_duration(string text, int milliseconds)
    {
        Quantities.TryParseDuration(text, out var duration).Should().BeTrue();
        duration.TotalMilliseconds.Should().Be(milliseconds);
    }

    [Theory]
    [InlineData("")]
    [InlineData("10")]
    [InlineData("s")]
    [InlineData("ms")]
    [InlineData("-1s")]
    [InlineData("1.5s")]
    [InlineData("1 s")]
    [InlineData("1d")]
    [InlineData("256204779h")]
    [InlineData("99999999999999999999s")]
    public void Anything_else_is_no_duration(string text) => Quantities.TryParseDuration(text, out _).Should().BeFalse();

    [Fact]
    public void The_largest_duration_is_the_largest_time_span()
    {
        Quantities.TryParseDuration("256204778h", out var duration).Should().BeTrue();
        duration.TotalHours.Should().Be(256204778);
    }

    [Fact]
    public void A_wrong_value_is_quoted_short_and_escaped()
    {
        var act = () => Quantities.Size("--memory", "\x1b[31m" + new string('9', 200));
        act.Should().Throw<VmmException>().Where(e => e.Error == UsageErrors.BadValue && e.Message.Length < 150 && !e.Message.Contains('\x1b'));
    }
}
