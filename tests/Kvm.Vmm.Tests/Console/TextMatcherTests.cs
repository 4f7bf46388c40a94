using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Console;

namespace Kvm.Vmm.Tests.Console;

public class TextMatcherTests
{
    [Fact]
    public void Text_split_over_pieces_is_found_in_the_piece_that_completes_it()
    {
        var matcher = new TextMatcher("GUEST-UP");
        matcher.Feed("boot… GUE"u8).Should().BeFalse();
        matcher.Feed("ST-"u8).Should().BeFalse();
        matcher.Feed("UP 6.1"u8).Should().BeTrue();
        matcher.Found.Should().BeTrue();
        matcher.Feed("GUEST-UP"u8).Should().BeFalse("it is reported once");
    }

    [Fact]
    public void Overlapping_prefix_does_not_hide_the_text()
    {
        new TextMatcher("aab").Feed("aaaab"u8).Should().BeTrue();
        new TextMatcher("abab").Feed("abacabab"u8).Should().BeTrue();
    }

    [Fact]
    public void Any_stream_cut_anywhere_agrees_with_a_plain_search()
    {
        var bits = Gen.Elements('a', 'b');
        var gen = from text in Gen.NonEmptyListOf(bits)
                  from stream in Gen.ListOf(bits)
                  from cut in Gen.Choose(0, stream.Count)
                  select (new string([.. text]), new string([.. stream]), cut);
        Prop.ForAll(gen.ToArbitrary(), t =>
        {
            var (text, stream, cut) = t;
            var matcher = new TextMatcher(text);
            byte[] bytes = Encoding.UTF8.GetBytes(stream);
            bool found = matcher.Feed(bytes.AsSpan(0, cut));
            found |= matcher.Feed(bytes.AsSpan(cut));
            return found == stream.Contains(text, StringComparison.Ordinal);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Feeding_allocates_nothing()
    {
        var matcher = new TextMatcher("never there");
        byte[] line = Encoding.UTF8.GetBytes("[    0.000000] never the same line twice");
        matcher.Feed(line);
        Allocation.Of(_ => matcher.Feed(line), 10_000).Should().Be(0);
    }
}
