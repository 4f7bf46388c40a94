using System.Text;

namespace Kvm.Labs.Tests.Assembling;

/// <summary>Sources that nobody writes by mistake: each ends soon, with a message and a place.</summary>
public sealed class HostileSourceTests
{
    [Fact]
    public void A_line_of_a_megabyte_is_refused_at_its_column()
    {
        Assembled.Errors("nop\ndb " + new string('1', 1_000_000)).Should().Be("2:1025: a line has at most 1024 characters; this one has 1000003");
    }

    [Fact]
    public void A_source_of_more_than_a_megabyte_is_refused()
    {
        Assembled.Errors(new string('\n', (1 << 20) + 1)).Should().Contain("a source has at most 1,048,576 characters");
    }

    [Theory]
    [InlineData("times 0x7fffffffffffffff nop", "1:7: times takes 0 to 65,536, not 9,223,372,036,854,775,807")]
    [InlineData("times -1 nop", "1:7: times takes 0 to 65,536, not -1")]
    [InlineData("resq 0x7fffffffffffffff", "1:6: 0 to 1,048,576 can be reserved")]
    [InlineData("resq 1048576", "1:1: the program would be larger than 1,048,576 bytes")]
    [InlineData("times 65536 resb 1048576", "1:13: the program would be larger than 1,048,576 bytes")]
    [InlineData("org 0\nnop\norg 0x7fffffff", "3:1: the program would be larger than 1,048,576 bytes")]
    [InlineData("org 0xffffffff\nnop\nnop", "2:1: the program would reach beyond 4 GiB")]
    [InlineData("org 0x100000000", "1:5: org takes an address below 4 GiB")]
    [InlineData("times 65536 times 65536 nop", "1:13: there is no instruction or directive 'times'")]
    [InlineData("times 1 a: nop", "1:9: there is no instruction or directive 'a'")]
    public void What_would_grow_without_end_is_refused(string source, string error) => Assembled.Errors(source).Should().StartWith(error);

    [Fact]
    public void Many_large_repetitions_end_at_the_limit_of_statements()
    {
        var source = new StringBuilder();
        for (int i = 0; i < 10; i++)
            source.Append("times 65536 db 0\ntimes 65536 resb 0\n");
        Assembled.Errors(source.ToString()).Should().Contain("a program has at most 262,144 instructions and directives");
    }

    [Fact]
    public void Deep_parentheses_and_long_sums_are_refused()
    {
        Assembled.Errors("db " + new string('(', 500) + "1").Should().Contain("more than 64 deep");
        Assembled.Errors("db " + new string('-', 500) + "1").Should().Contain("more than 64 deep");
        Assembled.Errors("db 1" + string.Concat(Enumerable.Repeat("+1", 300))).Should().Contain("at most 200 calculations");
    }

    [Fact]
    public void Constants_that_double_sixty_times_are_evaluated_once_each()
    {
        var source = new StringBuilder("dq c60 & 0xff\nc0 equ 1\n");
        for (int i = 1; i <= 60; i++)
            source.Append($"c{i} equ c{i - 1} + c{i - 1}\n");
        Assembled.Program(source.ToString()).Symbols["c60"].Should().Be(1L << 60);
    }

    [Fact]
    public void Chains_of_constants_longer_than_the_limit_are_refused()
    {
        var source = new StringBuilder("db c99\nc0 equ 1\n");
        for (int i = 1; i < 100; i++)
            source.Append($"c{i} equ c{i - 1}\n");
        Assembled.Errors(source.ToString()).Should().Contain("leads through more than 64 others, or to itself");
    }

    [Fact]
    public void Twenty_mistakes_are_enough()
    {
        Assembled.Errors(string.Concat(Enumerable.Repeat("nonsense !\n", 1000))).Split('\n').Should().HaveCount(20);
    }

    [Fact]
    public void Random_characters_never_throw()
    {
        var random = new Random(1);
        const string alphabet = "movaxrbdc[]()+-*/%$&|^~<>,:;'\" \t\n0123456789xh.timesorgequ";
        for (int i = 0; i < 2000; i++)
        {
            var text = new string([.. Enumerable.Range(0, random.Next(120)).Select(_ => alphabet[random.Next(alphabet.Length)])]);
            var result = Kvm.Labs.Assembling.Assembler.Assemble(text);
            (result.Program is null).Should().Be(result.Errors.Count > 0);
        }
    }

    [Fact]
    public void A_message_shows_control_characters_escaped()
    {
        Assembled.Errors("mov ax, \u001b[2J").Should().NotContain("\u001b");
        Assembled.Errors("db '\u001b', 'x'x").Should().NotContain("\u001b");
    }
}
