using Kvm.Cli.Parsing;

namespace Kvm.Cli.Tests.Parsing;

/// <summary>Where the words of a command begin that exec runs.</summary>
public class ExecWordsTests
{
    [Theory]
    [InlineData("exec web ls", "exec web -- ls")]
    [InlineData("exec web ls -la --json", "exec web -- ls -la --json")]
    [InlineData("exec -i -w /srv web tar -x", "exec -i -w /srv web -- tar -x")]
    [InlineData("exec -it web sh", "exec -i -t web -- sh")]
    [InlineData("exec -e A=b --env C=d web env", "exec -e A=b --env C=d web -- env")]
    [InlineData("exec --timeout=1s web sleep 2", "exec --timeout=1s web -- sleep 2")]
    [InlineData("--json exec web ls", "--json exec web -- ls")]
    [InlineData("exec web -- ls -l", "exec web -- ls -l")]
    [InlineData("exec -- web ls -l", "exec -- web ls -l")]
    [InlineData("exec web", "exec web")]
    [InlineData("exec", "exec")]
    [InlineData("exec --help", "exec --help")]
    [InlineData("exec -w", "exec -w")]
    [InlineData("run exec -it", "run exec -it")]
    [InlineData("", "")]
    public void The_parser_is_told_where_options_end(string words, string expected) =>
        string.Join(' ', ExecWords.Separate(new CommandTree().Root, words.Split(' ', StringSplitOptions.RemoveEmptyEntries))).Should().Be(expected);
}
