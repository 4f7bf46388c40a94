namespace Kvm.Vmm.Tests;

public class ErrorTableTests
{
    [Fact]
    public void Every_error_has_a_unique_ascending_id_and_texts_that_end_as_the_layout_needs()
    {
        var all = ErrorTable.All;
        all.Should().NotBeEmpty();
        all.Select(e => e.Id).Should().OnlyHaveUniqueItems().And.BeInAscendingOrder(StringComparer.Ordinal);
        foreach (var e in all)
        {
            e.Id.Should().MatchRegex("^KVM[0-9]{4}$");
            e.Summary.Should().NotBeNullOrWhiteSpace().And.NotEndWith(".").And.NotContain("\n");
            e.Cause.Should().EndWith(".").And.NotContain("\n");
            e.Fix.Should().NotBeNullOrWhiteSpace().And.NotContain("\n");
            e.ExitCode.Should().BeInRange(1, 17);
        }
    }

    [Fact]
    public void The_display_text_is_three_lines_with_the_id_first()
    {
        var e = new VmmException(ErrorTable.All[0], "the detail");
        e.ToDisplayText().Split('\n').Should().HaveCount(3);
        e.ToDisplayText().Should().StartWith($"error {ErrorTable.All[0].Id}: ").And.Contain("the detail");
        e.ExitCode.Should().Be(ErrorTable.All[0].ExitCode);
    }
}
