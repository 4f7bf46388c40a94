using System.Text;

namespace Kvm.Labs.Tests.Assembling;

public sealed class LayoutTests
{
    [Fact]
    public void A_boot_sector_has_its_signature_at_its_end()
    {
        var program = Assembled.Program("org 0x7c00\nstart: jmp start\ntimes 510-($-$$) db 0\ndw 0xaa55");
        program.Origin.Should().Be(0x7c00);
        program.Image.Should().HaveCount(512);
        program.Image[^2..].Should().Equal(0x55, 0xaa);
    }

    [Fact]
    public void Jumps_become_as_long_as_they_have_to_and_labels_follow()
    {
        var program = Assembled.Program("jmp far_away\ntimes 126 nop\nnear: jmp far_away\nnop\nfar_away: dw near, far_away");
        // The first jump is three bytes long, the second two.
        Convert.ToHexStringLower(program.Image).Should().StartWith("e98100").And.EndWith("eb0190" + "817c" + "847c");
    }

    [Fact]
    public void Local_labels_belong_to_the_label_before()
    {
        Assembled.Bytes("a:\n.loop: jmp .loop\nb:\n.loop: jmp .loop\njmp a.loop").Should().Be("ebfeebfeebfa");
    }

    [Fact]
    public void Constants_and_calculations()
    {
        Assembled.Bytes("db SIZE*2, (1+2)*3, 10-2-3, 7/2, 7%4, 1<<4|1, ~0 & 0xff, 6^3\nSIZE equ 5").Should().Be("0a09050303" + "11" + "ff" + "05");
    }

    [Fact]
    public void The_length_of_a_text_is_a_difference_of_places()
    {
        var program = Assembled.Program("mov cx, length\ntext: db 'Hello', 13, 10, \"it's\"\nlength equ $ - text\nnop");
        program.Symbols["length"].Should().Be(11);
        Encoding.ASCII.GetString(program.Image[3..14]).Should().Be("Hello\r\nit's");
    }

    [Fact]
    public void Data_of_all_sizes_is_little_endian_and_texts_are_filled_up()
    {
        Assembled.Bytes("db 1\ndw 0x1234\ndd 0x12345678\ndq -2\ndw 'abc'\nresb 2\nalign 16\ndb 255").Should()
            .Be("01" + "3412" + "78563412" + "feffffffffffffff" + "61626300" + "0000" + "0000000000" + "000000" + "000000" + "ff");
    }

    [Fact]
    public void A_second_org_leaves_zeros_between()
    {
        var program = Assembled.Program("org 0x1000\nnop\norg 0x1010\nthere: hlt\ndw there");
        program.Image.Should().HaveCount(0x13);
        program.Image[0x10..].Should().Equal(0xf4, 0x10, 0x10);
    }

    [Fact]
    public void The_mode_of_the_first_instruction_is_the_mode_the_program_starts_in()
    {
        Assembled.Program("db 1\nbits 64\nnop").Bits.Should().Be(64);
        Assembled.Program("nop\nbits 64\nnop").Bits.Should().Be(16);
        Assembled.Program("db 1").Bits.Should().Be(16);
    }

    [Fact]
    public void The_listing_leads_from_addresses_to_lines()
    {
        var program = Assembled.Program("; comment\nnop\n\nthere: mov ax, 5 ; more\ndb 1");
        program.At(0x7c00)!.Value.Line.Should().Be(2);
        program.At(0x7c03)!.Value.Should().Be(new Kvm.Labs.Assembling.ListedBytes(0x7c01, 3, 4, 16));
        program.At(0x7c04)!.Value.Bits.Should().Be(0);
        program.At(0x7c05).Should().BeNull();
        program.At(0x7bff).Should().BeNull();
    }
}
