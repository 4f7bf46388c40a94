using Kvm.Labs.Catalog;
using Kvm.Vmm;

namespace Kvm.Labs.Tests.Catalog;

public sealed class TextTests
{
    public static TheoryData<int> Labs => [.. LabCatalog.All.Select(lab => lab.Number)];

    [Fact]
    public void There_are_fourteen_labs_numbered_in_order_with_names_of_their_own()
    {
        LabCatalog.All.Select(lab => lab.Number).Should().Equal(Enumerable.Range(1, 14));
        LabCatalog.All.Select(lab => lab.Name).Should().OnlyHaveUniqueItems().And.AllSatisfy(name => name.Should().MatchRegex("^[a-z][a-z0-9-]+$"));
    }

    [Theory]
    [MemberData(nameof(Labs))]
    public void A_text_has_its_parts_and_says_how_the_lab_fails_as_handed_out(int number)
    {
        var lab = LabCatalog.Find($"{number}");
        lab.Text.Should().StartWith($"# Lab {number}: ").And.Contain("## Goal").And.Contain("## Background").And.Contain("## What to look for")
            .And.Contain("## Exercises").And.Contain("As handed out");
    }

    [Theory]
    [MemberData(nameof(Labs))]
    public void A_source_is_a_page_and_says_where_the_students_turn_is(int number)
    {
        var lab = LabCatalog.Find($"{number}");
        var lines = lab.Source.TrimEnd().Split('\n');
        lines.Length.Should().BeLessThanOrEqualTo(number == 14 ? 100 : 75, "a lab is a page");
        lines.Should().AllSatisfy(line => line.Length.Should().BeLessThan(150));
        if (lab.Extension == "asm" && number != 14)
            lab.Source.Should().Contain("our turn");
    }

    [Theory]
    [InlineData("1", 1)]
    [InlineData("01", 1)]
    [InlineData("virtqueue", 10)]
    [InlineData("10-virtqueue", 10)]
    public void A_lab_is_found_by_number_and_name(string word, int number) => LabCatalog.Find(word).Number.Should().Be(number);

    [Theory]
    [InlineData("0")]
    [InlineData("15")]
    [InlineData("99999999999999999999")]
    [InlineData("-1")]
    [InlineData("")]
    [InlineData("virtqeue")]
    public void A_word_that_is_no_lab_is_an_error(string word)
    {
        var find = () => LabCatalog.Find(word);
        var error = find.Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be("KVM0040");
        if (word == "virtqeue")
            error.Message.Should().Contain("did you mean virtqueue?");
    }

    [Theory]
    [InlineData("fcfs: A=6 B=x", "1:11: a whole number of milliseconds is expected behind B=, not 'x'")]
    [InlineData("\nlifo: A=1", "2:1: a line begins with fcfs, srtf, rr and a colon")]
    [InlineData("rr A=1", "1:1: a line begins with")]
    [InlineData("rr: C=1", "1:5: A=milliseconds or B=milliseconds is expected, not 'C=1'")]
    [InlineData("rr: A=99999999999", "1:5: a whole number")]
    public void Answers_with_mistakes_are_refused_with_their_place(string source, string message)
    {
        var check = () => LabCatalog.Find("13").Check(source, new LabOptions());
        check.Should().Throw<LabSourceException>().Which.Message.Should().Contain(message);
    }

    [Fact]
    public void A_schedule_is_not_given_away_before_it_was_worked_out()
    {
        var lab = LabCatalog.Find("13");
        lab.Run(lab.Source, new LabOptions()).Text.Should().NotContain("#");
        lab.Run("rr: A=1 B=2", new LabOptions()).Text.Should().Contain("A |##..##.##|").And.Contain("B |..##..#..|").And.Contain("write down both numbers first");
    }
}
