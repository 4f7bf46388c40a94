using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Tests.Configuration;

public class VisibleTextTests
{
    [Theory]
    [InlineData("plain, with ü and 漢字", "plain, with ü and 漢字")]
    [InlineData("\x1b[2J", "\\x1b[2J")]
    [InlineData("a\r\nb\tc\0", "a\\x0d\\x0ab\\x09c\\x00")]
    [InlineData("\u009b\u007f", "\\x9b\\x7f")]
    [InlineData("\u202egpj", "\\u202egpj")]
    [InlineData("\u2028", "\\u2028")]
    public void What_a_terminal_would_obey_is_escaped(string text, string expected) => VisibleText.Escape(text).Should().Be(expected);

    [Fact]
    public void A_long_text_is_cut_and_its_length_told() =>
        VisibleText.Quote(new string('x', 100_000), 10).Should().Be("'xxxxxxxxxx…' (100000 characters)");

    [Fact]
    public void A_short_text_is_quoted_whole() => VisibleText.Quote("a\nb").Should().Be("'a\\x0ab'");
}
