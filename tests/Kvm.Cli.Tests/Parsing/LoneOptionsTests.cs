using Kvm.Cli.Parsing;

namespace Kvm.Cli.Tests.Parsing;

public class LoneOptionsTests
{
    private static string Complete(string line) => string.Join(' ', LoneOptions.Complete(new CommandTree().Root, line.Split(' ')));

    [Theory]
    [InlineData("run k --net", "run k --net=user")]
    [InlineData("run --net --rng k", "run --net=user --rng k")]
    [InlineData("run --net /dev/null", "run --net=user /dev/null")]
    [InlineData("run --net --net tap=a", "run --net=user --net tap=a")]
    [InlineData("run --net -- k", "run --net=user -- k")]
    public void Net_without_a_value_is_a_user_network(string line, string completed) => Complete(line).Should().Be(completed);

    [Theory]
    [InlineData("run k --net none")]
    [InlineData("run k --net=tap=a")]
    [InlineData("run k --net usr")]
    [InlineData("run k --memory")]
    [InlineData("run -- --net")]
    public void Other_lines_are_left_alone(string line) => Complete(line).Should().Be(line);
}
