using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Tests.Configuration;

public class NearestNameTests
{
    private static readonly string[] s_names = ["--memory", "--engine", "--initrd", "boot-source", "machine-config", "vcpu_count"];

    [Theory]
    [InlineData("--memry", "--memory")]
    [InlineData("--MEMORY", "--memory")]
    [InlineData("--engnie", "--engine")]
    [InlineData("bootsource", "boot-source")]
    [InlineData("boot_source", "boot-source")]
    [InlineData("vcpucount", "vcpu_count")]
    public void A_misspelt_name_finds_the_one_meant(string word, string expected) =>
        NearestName.Find(word, s_names).Should().Be(expected);

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("--something-else")]
    public void A_word_like_none_of_them_finds_nothing(string word) => NearestName.Find(word, s_names).Should().BeNull();

    [Fact]
    public void A_very_long_word_finds_nothing() => NearestName.Find(new string('a', 100_000), ["aaaa", new string('a', 100_000)]).Should().BeNull();

    [Theory]
    [InlineData("", "", 0)]
    [InlineData("", "abc", 3)]
    [InlineData("abc", "acb", 1)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("ca", "abc", 3)]
    public void The_distance_counts_single_edits_and_swaps(string a, string b, int expected) => NearestName.Distance(a, b).Should().Be(expected);

    [Fact]
    public void The_distance_is_symmetric_and_zero_only_for_equal_words()
    {
        var words = Gen.Elements('a', 'b', 'c').ArrayOf().Select(c => new string(c.Take(12).ToArray())).ToArbitrary();
        Check.QuickThrowOnFailure(Prop.ForAll(words, words, (a, b) =>
            NearestName.Distance(a, b) == NearestName.Distance(b, a) && NearestName.Distance(a, b) == 0 == (a == b)));
    }
}
