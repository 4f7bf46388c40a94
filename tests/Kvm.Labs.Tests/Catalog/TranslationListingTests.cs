using Kvm.Labs.Catalog;
using Kvm.X86.Translate;

namespace Kvm.Labs.Tests.Catalog;

public sealed class TranslationListingTests
{
    [Fact]
    public void Lab_12_lists_its_loop_beside_the_code_that_it_became()
    {
        var notes = LabCatalog.Find("12").Run(LabCatalog.Find("12").Source, new LabOptions { Engine = "soft" }).Runs.SelectMany(run => run.Notes).ToList();
        int title = notes.FindIndex(note => note.StartsWith("the block at 0x", StringComparison.Ordinal));
        title.Should().BePositive();
        notes[title].Should().EndWith("bytes of host code:");
        notes.Skip(title + 1).Take(4).Select(note => note[2..].Split(' ')[0]).Should().Equal("lea", "xor", "dec", "jne");
        notes[title + 1].Should().MatchRegex(@"^  lea rbx,\[rbx\+rcx\*2\] +lea r", "that instruction has one of the host's");
    }

    [Fact]
    public void A_long_block_is_cut_and_bytes_that_are_no_code_are_left_out()
    {
        byte[] nop = [0x90], wrong = [0x06];
        var block = new TranslatedCode(0x1000, 0x1000, 7, [.. Enumerable.Range(0, 100).Select(i => new TranslatedInstruction(0x1000 + (ulong)i, nop, [], i == 1 ? wrong : nop))], default, 100);
        var lines = TranslationListing.Of(block, 32).ToList();
        lines[0].Should().Be("the block at 0x1000 ran 7 times, as 100 bytes of host code:");
        lines[1].Should().Be("  nop                           nop");
        lines[2].Should().Be("  nop");
        lines.Should().HaveCount(41);
    }
}
