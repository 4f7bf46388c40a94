using Kvm.Vmm.Boot.Acpi;

namespace Kvm.Vmm.Tests.Boot.Acpi;

public class AmlWriterTests
{
    [Theory]
    [InlineData("PNP0501", 0x0105d041)]
    [InlineData("PNP0A03", 0x030ad041)]
    [InlineData("PNP0A08", 0x080ad041)]
    public void EISA_identifiers_are_compressed_as_19_6_36_says(string id, uint expected) => AmlWriter.EisaId(id).Should().Be(expected);

    [Theory]
    [InlineData(0ul, "00")]
    [InlineData(1ul, "01")]
    [InlineData(2ul, "0A02")]
    [InlineData(0x100ul, "0B0001")]
    [InlineData(0x10000ul, "0C00000100")]
    [InlineData(0x1_0000_0000ul, "0E0000000001000000")]
    public void Integers_take_their_shortest_form(ulong value, string hex)
    {
        var w = new AmlWriter();
        w.Integer(value);
        Convert.ToHexString(w.Written).Should().Be(hex);
    }

    [Fact]
    public void A_block_knows_its_length_when_it_is_closed()
    {
        var w = new AmlWriter();
        using (w.Device("AB"))
            w.Name("_UID", 1);
        Convert.ToHexString(w.Written).Should().Be("5B82" + "8D0000" + "41425F5F" + "08" + "5F554944" + "01");
    }

    [Fact]
    public void A_long_block_has_its_length_in_all_twenty_bits()
    {
        var w = new AmlWriter();
        using (w.Scope("\\_SB"))
            w.Bytes(new byte[70_000]);
        var head = w.Written[..4].ToArray();
        int length = (head[1] & 0xf) | (head[2] << 4) | (head[3] << 12);
        length.Should().Be(w.Length - 1);
        (head[1] >> 6).Should().Be(2, "two bytes follow the first");
    }

    [Fact]
    public void A_block_that_is_too_long_for_its_length_field_is_a_programming_error() =>
        FluentActions.Invoking(() =>
        {
            var w = new AmlWriter();
            using (w.Scope("\\_SB"))
                w.Bytes(new byte[1 << 20]);
        }).Should().Throw<InvalidOperationException>();

    [Theory]
    [InlineData("")]
    [InlineData("ABCDE")]
    [InlineData("A.B.C")]
    public void Names_that_AML_cannot_say_are_programming_errors(string path) =>
        FluentActions.Invoking(() => new AmlWriter().NamePath(path)).Should().Throw<ArgumentException>();

    [Fact]
    public void A_resource_template_counts_its_bytes_and_ends_with_an_end_tag()
    {
        var w = new AmlWriter();
        using (w.ResourceTemplate())
            w.Io(0x3f8, 8);
        Convert.ToHexString(w.Written).Should().Be("11" + Convert.ToHexString([0x80 | 0, 1, 0]) + "0B0A00" + "4701F803F80301" + "08" + "7900");
    }
}
