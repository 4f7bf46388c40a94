namespace Kvm.Architecture.Tests;

/// <summary>The reader of C# that the rules stand on.</summary>
public sealed class SourceTests
{
    [Theory]
    [InlineData("a // b", "a     ")]
    [InlineData("a /* b\n */ c", "a     \n    c")]
    [InlineData("x(\"{ // \\\" }\")", "x(           )")]
    [InlineData("x(@\"a\"\"b{\")", "x(@       )")]
    [InlineData("c = '{';", "c =    ;")]
    [InlineData("\"\"\"\n{ \" }\n\"\"\";", "   \n     \n   ;")]
    public void Comments_and_literals_are_blanked_and_nothing_else(string text, string code) =>
        Source.CodeOnly(text).TrimEnd().Should().Be(code.TrimEnd());

    [Fact]
    public void Functions_accessors_and_nested_types_are_found_with_their_lines()
    {
        const string text = """
            namespace N;
            internal sealed class C
            {
                private readonly int[] _a = { 1, 2 };
                public int P
                {
                    get { return 1; }
                }
                public C(int x) : base(x)
                {
                    if (x > 0) {
                        x = 2;
                    }
                }
                private struct S
                {
                    public void M() { switch (1) { } }
                }
            }
            """;
        Source.Functions(text).Select(function => (function.Line, function.Lines, function.IsDispatch))
            .Should().Equal((7, 1, false), (10, 5, false), (17, 1, true));
    }
}
