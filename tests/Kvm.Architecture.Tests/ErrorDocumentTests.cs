using System.Text;
using Kvm.Vmm;

namespace Kvm.Architecture.Tests;

/// <summary>docs/errors.md is the error table in words. KVMSHARP_UPDATE=1 writes it anew instead of comparing.</summary>
public sealed class ErrorDocumentTests
{
    private const string Document = "docs/errors.md";

    [Fact]
    public void The_document_says_what_the_table_says()
    {
        var text = Render();
        if (Environment.GetEnvironmentVariable("KVMSHARP_UPDATE") == "1")
            File.WriteAllText(Repository.PathOf(Document), text);
        Repository.Read(Document).Should().Be(text, "after a change of the table type: KVMSHARP_UPDATE=1 scripts/test Kvm.Architecture.Tests");
    }

    [Fact]
    public void Every_error_has_an_id_of_its_own_in_ascending_order_and_words_for_all_three_questions()
    {
        ErrorTable.All.Select(error => error.Id).Should().OnlyHaveUniqueItems().And.BeInAscendingOrder(StringComparer.Ordinal).And.AllSatisfy(id => id.Should().MatchRegex("^KVM[0-9]{4}$"));
        ErrorTable.All.Should().AllSatisfy(error =>
        {
            error.Summary.Should().NotBeNullOrWhiteSpace().And.NotEndWith(".").And.NotContain("\n");
            error.Cause.Should().NotBeNullOrWhiteSpace();
            error.Fix.Should().NotBeNullOrWhiteSpace();
            error.ExitCode.Should().BeInRange(1, 199);
        });
    }

    private static string Render()
    {
        var text = new StringBuilder("""
            # Errors

            What `kvmsharp` prints when it cannot go on begins with one of these ids. An id is never given another meaning.
            This page is written from the table in the code (`src/Kvm.Vmm/Errors.cs`); a test compares them.

            """);
        foreach (var error in ErrorTable.All)
            text.Append($"\n## {error.Id}: {error.Summary}\n\nExit code {error.ExitCode}.\n\n- Why: {error.Cause}\n- What to do: {error.Fix}\n");
        return text.ToString();
    }
}
