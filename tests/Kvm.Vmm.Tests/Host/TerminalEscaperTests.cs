using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public class TerminalEscaperTests
{
    private static string Escape(params byte[][] pieces)
    {
        var escaper = new TerminalEscaper();
        var shown = new List<byte>();
        foreach (var piece in pieces)
            shown.AddRange(escaper.Escape(piece));
        return Encoding.Latin1.GetString([.. shown]);
    }

    private static string Utf8(string text) => Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(text));

    [Theory]
    [InlineData("hello\r\n\tworld\b!", "hello\r\n\tworld\b!")]
    [InlineData("\x1b[2J\x1b]0;title\a", "\\x1b[2J\\x1b]0;title\\x07")]
    [InlineData("a\0b\x7f", "a\\x00b\\x7f")]
    public void Control_characters_are_shown_and_line_ends_obeyed(string text, string expected) =>
        Escape(Encoding.Latin1.GetBytes(text)).Should().Be(expected);

    [Fact]
    public void Letters_of_all_languages_stay() =>
        Escape(Encoding.UTF8.GetBytes("größe 漢字 🐧 ¢")).Should().Be(Utf8("größe 漢字 🐧 ¢"));

    [Fact]
    public void A_C1_control_is_shown_alone_and_in_UTF8()
    {
        Escape([0x9b, (byte)'2', (byte)'J']).Should().Be("\\x9b2J");
        Escape(Encoding.UTF8.GetBytes("\u009b2J")).Should().Be("\\x9b2J");
        Escape([0xc2], [0x9b, (byte)'m']).Should().Be("\\x9bm");
    }

    [Fact]
    public void An_escape_inside_a_broken_character_is_shown() =>
        Escape([0xe2, 0x1b, (byte)'[', 0xc2, 0x1b]).Should().Be("\xe2\\x1b[\xc2\\x1b");

    [Fact]
    public void Whatever_the_bytes_and_wherever_they_are_cut_no_control_character_comes_through()
    {
        var pieces = ArbMap.Default.ArbFor<byte[]>().Generator.ArrayOf().ToArbitrary();
        Check.QuickThrowOnFailure(Prop.ForAll(pieces, cut =>
        {
            var shown = Escape(cut);
            return shown.All(c => c is >= ' ' and not '\x7f' or '\n' or '\r' or '\t' or '\b')
                && shown == Escape(cut.SelectMany(p => p).ToArray());
        }));
    }
}
