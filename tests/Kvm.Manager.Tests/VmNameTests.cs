using Kvm.Vmm;

namespace Kvm.Manager.Tests;

public class VmNameTests
{
    [Theory]
    [InlineData("web")]
    [InlineData("Web-1_b.2")]
    [InlineData("7")]
    public void A_name_is_taken(string name) => VmName.Check(name).Should().Be(name);

    [Theory]
    [InlineData("", "is empty")]
    [InlineData("..", "begins with '.'")]
    [InlineData(".hidden", "begins with '.'")]
    [InlineData("-rf", "begins with '-'")]
    [InlineData("a/b", "has the character '/'")]
    [InlineData("../../etc", "begins with '.'")]
    [InlineData("a b", "has the character ' '")]
    [InlineData("a\0b", "has the character '\\x00'")]
    [InlineData("w\u0435b", "has the character U+0435")] // a Cyrillic letter that looks like e
    [InlineData("we\u200bb", "has the character U+200B")] // a space of no width
    [InlineData("ｗeb", "has the character U+FF57")]
    [InlineData("we\u0301b", "has the character U+0301")] // an accent on the e
    [InlineData("we\u202eb", "has the character U+202E")] // what follows is read from right to left
    [InlineData("web\u0661", "has the character U+0661")] // an Arabic digit
    [InlineData("\u212aiosk", "has the character U+212A")] // the sign of the kelvin, a K once letters are folded
    [InlineData("\ud835\udc30eb", "has the character U+1D430")] // a mathematical w, two units of UTF-16
    [InlineData("we\ud835", "has the character U+FFFD")] // half of a character
    public void What_is_no_name_is_refused_and_why(string name, string why)
    {
        var error = FluentActions.Invoking(() => VmName.Check(name)).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be("KVM0602");
        error.Message.Should().Contain(why).And.NotContainAny("\0", "\u200b", "\u202e");
    }

    [Fact]
    public void A_name_of_300_bytes_is_refused_in_a_short_message()
    {
        var error = FluentActions.Invoking(() => VmName.Check(new string('a', 300))).Should().Throw<VmmException>().Which;
        error.Message.Should().Contain("longer than 64").And.Match(text => text.Length < 200);
    }
}
