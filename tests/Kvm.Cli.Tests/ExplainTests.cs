namespace Kvm.Cli.Tests;

public class ExplainTests
{
    [SkippableFact]
    public void An_exit_is_explained_with_all_three_names_and_both_manuals()
    {
        Published.Require();
        var ended = Published.Run("explain", "EPT_VIOLATION");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Contain("VT-x exit reason 48").And.Contain("KVM_EXIT_MMIO (6)").And.Contain("NPF (0x400)").And.Contain("SDM vol. 3, appendix C").And.Contain("APM vol. 2");
        ended.Output.Split('\n').Should().OnlyContain(line => line.Length <= 110);
    }

    [SkippableFact]
    public void A_number_gives_one_JSON_document_with_every_table_that_has_it()
    {
        Published.Require();
        var topics = Published.Run("explain", "48", "--json").Json.GetProperty("topics").EnumerateArray().ToList();
        topics.Select(t => t.GetProperty("table").GetString()).Should().Contain(["vmx", "svm"]);
        topics.Single(t => t.GetProperty("table").GetString() == "vmx").GetProperty("svm")[0].GetProperty("name").GetString().Should().Be("NPF");
    }

    [SkippableFact]
    public void Without_a_word_and_for_a_table_there_are_lists()
    {
        Published.Require();
        Published.Run("explain").Output.Should().Contain("vmx").And.Contain("errors");
        Published.Run("explain", "ports").Output.Should().Contain("COM1_DATA");
    }

    [SkippableTheory]
    [InlineData("EPT_VIOLATOIN", "did you mean EPT_VIOLATION?")]
    [InlineData("0x123456789", "is no number")]
    [InlineData("a\u001b[31mb", "a\\x1b[31mb")]
    public void What_nothing_is_known_of_is_2(string word, string part)
    {
        Published.Require();
        Published.Run("explain", word).ShouldFail(2, "KVM0008", part);
    }
}
