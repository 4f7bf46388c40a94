using System.Text.RegularExpressions;

namespace Kvm.Architecture.Tests;

/// <summary>Policies are functions of what they are told (docs/scheduling.md).</summary>
public sealed partial class SchedulingRuleTests
{
    [Fact]
    public void A_policy_knows_no_clock_thread_file_random_number_or_environment()
    {
        var strays = from file in Repository.SourceFiles("src/Kvm.Sched")
                     let match = World().Match(Source.CodeOnly(Repository.Read(file)))
                     where match.Success
                     select $"{file}: {match.Value}";
        strays.Should().BeEmpty();
    }

    [Theory]
    [InlineData("var now = DateTime.UtcNow;")]
    [InlineData("long t = Stopwatch.GetTimestamp();")]
    [InlineData("await Task.Delay(1);")]
    [InlineData("lock (_table)")]
    [InlineData("File.ReadAllText(path)")]
    [InlineData("new Random(1)")]
    public void What_is_looked_for_is_found(string line) => World().IsMatch(line).Should().BeTrue();

    [GeneratedRegex(@"(?<![\w.])(DateTime|DateTimeOffset|Stopwatch|TimeProvider|Environment|Thread|Task|Interlocked|Volatile|File|FileStream|Directory|Random|Guid|Process)\s*[.(<]|\block\s*\(|\bnew\s+(Random|Thread)\b|\[ThreadStatic\]")]
    private static partial Regex World();
}
