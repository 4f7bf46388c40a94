using System.Text;
using Kvm.Vmm.Explain;

namespace Kvm.Architecture.Tests;

/// <summary>docs/exits.md is the tables of <c>kvmsharp explain</c> in words. KVMSHARP_UPDATE=1 writes it anew instead of comparing.</summary>
public sealed class ExitDocumentTests
{
    private const string Document = "docs/exits.md";

    [Fact]
    public void The_document_says_what_the_tables_say()
    {
        var text = Render();
        if (Environment.GetEnvironmentVariable("KVMSHARP_UPDATE") == "1")
            File.WriteAllText(Repository.PathOf(Document), text);
        Repository.Read(Document).Should().Be(text, "after a change of a table type: KVMSHARP_UPDATE=1 scripts/test Kvm.Architecture.Tests");
    }

    private static string Render()
    {
        var text = new StringBuilder("""
            # Exits, registers and ports

            What `kvmsharp explain WORD` knows, as a page. It is written from the tables in the code (`src/Kvm.Vmm/Explain`); a test compares them.

            The processor leaves the guest for a reason of its own: VT-x's are in SDM vol. 3, appendix C, AMD-V's in APM vol. 2, appendix C. KVM deals with most of them in
            the kernel. What it leaves to the VMM comes back from KVM_RUN with a reason of KVM's. The first table has all three beside each other.

            ## Events

            | event | VT-x | AMD-V | KVM | what happened | what is done |
            |---|---|---|---|---|---|

            """);
        foreach (var cause in ExitCauses.All)
            text.Append($"| {cause.Title} | {cause.VmxText} | {cause.SvmText} | {cause.KvmText} | {cause.Meaning} | {cause.Vmm} |\n");
        AppendTable(text, "Exit reasons of VT-x", TopicTable.VmxExit, topic => topic.Cause!.Title);
        AppendTable(text, "Exit codes of AMD-V", TopicTable.SvmExit, topic => topic.Cause!.Title);
        AppendTable(text, "Exit reasons of KVM, and what this VMM does", TopicTable.KvmExit, topic => $"{topic.Meaning} {topic.Vmm}".TrimEnd());
        AppendTable(text, "Model-specific registers", TopicTable.Msr, Told);
        AppendTable(text, "Leaves of CPUID", TopicTable.CpuidLeaf, Told);
        AppendTable(text, "Ports", TopicTable.Port, Told);
        AppendTable(text, "Registers of virtio", TopicTable.VirtioRegister, Told);
        return text.ToString();
    }

    private static string Told(Topic topic) => topic.Vmm is null ? topic.Meaning : $"{topic.Meaning} *{topic.Vmm}*";

    private static void AppendTable(StringBuilder text, string title, TopicTable table, Func<Topic, string> tell)
    {
        text.Append($"\n## {title}\n\n| number | name | what | where |\n|---|---|---|---|\n");
        foreach (var topic in Explanations.Of(table))
            text.Append($"| {Explanations.NumberOf(topic)} | {topic.Name} | {tell(topic)} | {topic.Clause ?? "–"} |\n");
    }
}
