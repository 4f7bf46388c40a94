using Kvm.Interop;
using Kvm.Vmm.Explain;

namespace Kvm.Vmm.Tests.Explain;

public class ExplanationsTests
{
    [Theory]
    [InlineData("EPT_VIOLATION", TopicTable.VmxExit, 48)]
    [InlineData("exit_reason_io-instruction", TopicTable.VmxExit, 30)]
    [InlineData("NPF", TopicTable.SvmExit, 0x400)]
    [InlineData("VMEXIT_IOIO", TopicTable.SvmExit, 0x7b)]
    [InlineData("CR3_WRITE", TopicTable.SvmExit, 0x10)]
    [InlineData("EXCP14", TopicTable.SvmExit, 0x40)]
    [InlineData("KVM_EXIT_MMIO", TopicTable.KvmExit, 6)]
    [InlineData("efer", TopicTable.Msr, 0xc000_0080)]
    [InlineData("X2APIC_ISR7", TopicTable.Msr, 0x810)]
    [InlineData("com1_lsr", TopicTable.Port, 0x3fd)]
    [InlineData("MMIO_QUEUE_NOTIFY", TopicTable.VirtioRegister, 0x50)]
    [InlineData("kvm0202", TopicTable.Error, 202)]
    public void A_name_finds_its_entry(string word, TopicTable table, ulong number) =>
        Explanations.Find(word).Topics.Should().Contain(topic => topic.Table == table && topic.Number == number);

    [Theory]
    [InlineData("EPT_VIOLATOIN", "EPT_VIOLATION")]
    [InlineData("IA32_EFFER", "EFER")]
    [InlineData("something else altogether", null)]
    [InlineData("", null)]
    public void For_an_unknown_name_the_nearest_is_offered(string word, string? nearest)
    {
        var found = Explanations.Find(word);
        found.Topics.Should().BeEmpty();
        found.Nearest.Should().Be(nearest);
    }

    [Fact]
    public void A_number_finds_every_table_that_has_it()
    {
        var found = Explanations.Find("48");
        found.Number.Should().Be(48);
        found.Topics.Select(topic => topic.Table).Should().Contain([TopicTable.VmxExit, TopicTable.SvmExit, TopicTable.VirtioRegister]);
        found.Topics.Should().OnlyContain(topic => topic.Has(48));
        Explanations.Find("0x30").Topics.Should().Equal(found.Topics);
        Explanations.Find("0x123456789").Topics.Should().BeEmpty();
        Explanations.Find("0xfffffffffffffffff").Number.Should().BeNull("more than 64 bits are no number");
    }

    [Fact]
    public void A_table_s_word_lists_it()
    {
        foreach (var table in Enum.GetValues<TopicTable>())
            Explanations.Find(Explanations.WordOf(table)).Topics.Should().Equal(Explanations.Of(table));
    }

    [Fact]
    public void VT_x_s_basic_exit_reasons_are_all_there_once()
    {
        // SDM vol. 3, table C-1: these numbers are not given away.
        int[] free = [35, 38, 42, 71, 82, 83];
        ExitTables.Vmx.Select(topic => (int)topic.Number).Should().Equal(Enumerable.Range(0, 86).Except(free));
    }

    [Fact]
    public void AMD_V_s_exit_codes_are_all_there()
    {
        // APM vol. 2, table C-1: 0 to a6h without a gap, 400h to 403h, and the negative ones.
        var numbers = ExitTables.Svm.SelectMany(topic => Enumerable.Range(0, (int)topic.Count).Select(i => topic.Number + (ulong)i)).Distinct().ToHashSet();
        for (ulong code = 0; code <= 0xa6; code++)
            numbers.Should().Contain(code);
        numbers.Should().Contain([0x400, 0x401, 0x402, 0x403, ulong.MaxValue, ulong.MaxValue - 1]);
    }

    [Fact]
    public void KVM_s_reasons_have_the_names_of_its_numbers()
    {
        foreach (var reason in Enum.GetValues<KvmExit>())
            ExitTables.KvmName((uint)reason).Replace("_", "", StringComparison.Ordinal).Should().BeEquivalentTo($"KVMEXIT{reason}");
        ExitTables.Kvm.Should().HaveCount(Enum.GetValues<KvmExit>().Length);
    }

    [Fact]
    public void Each_entry_says_something_and_lies_in_its_table()
    {
        foreach (var topic in Enum.GetValues<TopicTable>().SelectMany(Explanations.Of))
        {
            topic.Name.Should().NotBeNullOrWhiteSpace();
            topic.Meaning.Should().EndWith(".");
            topic.Count.Should().BePositive();
            topic.Has(topic.Number).Should().BeTrue();
            topic.Has(topic.Number + topic.Count).Should().BeFalse();
            (topic.Count > 1).Should().Be(topic.Count > 1 && topic.NameOf(topic.Number).Length > 0);
        }
    }

    [Fact]
    public void Tables_of_one_number_space_do_not_overlap()
    {
        foreach (var table in new[] { TopicTable.Msr, TopicTable.CpuidLeaf, TopicTable.Port, TopicTable.KvmExit, TopicTable.VmxExit })
        {
            var topics = Explanations.Of(table).OrderBy(topic => topic.Number).ToList();
            foreach (var (before, after) in topics.Zip(topics.Skip(1)))
                (before.Number + (before.Count - 1)).Should().BeLessThan(after.Number, $"{before.Name} and {after.Name}");
        }
    }

    [Fact]
    public void What_KVM_tells_the_VMM_has_an_event_behind_it()
    {
        ExitTables.CauseOfKvm((uint)KvmExit.Io)!.Title.Should().Be("port access");
        ExitTables.CauseOfKvm((uint)KvmExit.Mmio)!.SvmText.Should().Be("NPF (0x400)");
        ExitTables.CauseOfKvm((uint)KvmExit.InternalError).Should().BeNull();
        ExitTables.CauseOfKvm(9999).Should().BeNull();
    }
}
