using System.Text.RegularExpressions;

namespace Kvm.Architecture.Tests;

/// <summary>docs/threat-model.md names tests, and they are there.</summary>
public sealed partial class ThreatModelTests
{
    [Fact]
    public void Every_test_that_is_named_exists()
    {
        var tests = string.Concat(Repository.SourceFiles("tests").Select(Repository.Read));
        var named = TestName().Matches(Repository.Read("docs/threat-model.md")).Select(match => match.Groups[1].Value).Distinct().ToList();
        named.Count.Should().BeGreaterThan(20);
        named.Where(name => !tests.Contains($" {name}(", StringComparison.Ordinal)).Should().BeEmpty();
    }

    /// <summary>Four words with underscores between them: no other name in that page has so many.</summary>
    [GeneratedRegex("`([A-Za-z0-9]+(?:_[A-Za-z0-9]+){3,})`")]
    private static partial Regex TestName();
}
