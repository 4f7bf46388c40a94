using System.Text.RegularExpressions;

namespace Kvm.Architecture.Tests;

/// <summary>What a reader may rely on in every source file (CONTRIBUTING.md, "Rules").</summary>
public sealed partial class SourceRuleTests
{
    private const int MostLines = 600;
    private const int MostFunctionLines = 80;
    private const int NineOfTenFunctionLines = 40;

    /// <summary>Tables: their length is the length of what they list.</summary>
    private static readonly string[] _tables = [];

    /// <summary>Dispatch switches, as `file: start of the head`: one place that tells cases apart.</summary>
    private static readonly string[] _dispatches = [];

    [Fact]
    public void No_file_is_longer_than_600_lines_but_the_tables()
    {
        var long_ = from file in Repository.SourceFiles("src", "tests")
                    where !_tables.Contains(file)
                    let lines = File.ReadLines(Repository.PathOf(file)).Count(line => !string.IsNullOrWhiteSpace(line))
                    where lines > MostLines
                    select $"{file}: {lines}";
        long_.Should().BeEmpty();
    }

    [Fact]
    public void Every_table_named_here_exists() =>
        _tables.Where(file => !File.Exists(Repository.PathOf(file))).Should().BeEmpty();

    [Fact]
    public void No_function_is_longer_than_80_lines_but_dispatch_switches()
    {
        var long_ = from found in Functions()
                    where found.Function.Lines > MostFunctionLines
                    where !(found.Function.IsDispatch && _dispatches.Any(known => $"{found.File}: {found.Function.Head}".StartsWith(known, StringComparison.Ordinal)))
                    select $"{found.File}:{found.Function.Line}: {found.Function.Lines} lines: {found.Function.Head}";
        long_.Should().BeEmpty();
    }

    [Fact]
    public void Nine_of_ten_functions_are_at_most_40_lines()
    {
        var lengths = Functions().Select(found => found.Function.Lines).Order().ToList();
        lengths.Should().NotBeEmpty();
        lengths[(int)(lengths.Count * 0.9)].Should().BeLessThanOrEqualTo(NineOfTenFunctionLines);
    }

    [Fact]
    public void Nothing_is_left_for_later()
    {
        var left = from file in Repository.SourceFiles("src", "tests").Concat(Repository.Files("*", "scripts", "tests/guest", ".ci"))
                   where file != "tests/Kvm.Architecture.Tests/SourceRuleTests.cs"
                   from line in File.ReadLines(Repository.PathOf(file)).Select((text, index) => (Text: text, Number: index + 1))
                   where LeftForLater().IsMatch(line.Text)
                   select $"{file}:{line.Number}: {line.Text.Trim()}";
        left.Should().BeEmpty();
    }

    [Fact]
    public void Product_code_waits_for_events_instead_of_sleeping()
    {
        var sleepers = from file in Repository.SourceFiles("src")
                       where Source.CodeOnly(Repository.Read(file)).Contains("Thread.Sleep", StringComparison.Ordinal)
                       select file;
        sleepers.Should().BeEmpty();
    }

    [Fact]
    public void Unsafe_code_is_where_the_file_name_says_so()
    {
        var strays = from file in Repository.SourceFiles("src")
                     where !file.StartsWith("src/Kvm.Interop/", StringComparison.Ordinal) && !file.EndsWith(".Unsafe.cs", StringComparison.Ordinal)
                     where !IsEngineFolder(file)
                     where UnsafeWord().IsMatch(Source.CodeOnly(Repository.Read(file)))
                     select file;
        strays.Should().BeEmpty();
    }

    [Fact]
    public void Every_unsafe_block_outside_the_engine_says_why_it_is_safe()
    {
        var silent = from file in Repository.SourceFiles("src")
                     where file.EndsWith(".Unsafe.cs", StringComparison.Ordinal)
                     let text = Repository.Read(file)
                     where !text.Contains("// SAFETY (whole file)", StringComparison.Ordinal)
                     let lines = text.Split('\n')
                     let code = Source.CodeOnly(text).Split('\n')
                     from number in Enumerable.Range(0, code.Length)
                     where UnsafeWord().IsMatch(code[number])
                     // A whole type may be unsafe where its members say why; a block or a member says it beside itself.
                     let near = TypeWord().IsMatch(code[number]) ? lines : lines[Math.Max(0, number - 8)..Math.Min(lines.Length, number + 6)]
                     where !near.Any(line => line.Contains("// SAFETY:", StringComparison.Ordinal))
                     select $"{file}:{number + 1}";
        silent.Should().BeEmpty();
    }

    [Fact]
    public void Every_unsafe_engine_file_opens_with_the_invariants_it_relies_on()
    {
        var silent = from file in Repository.SourceFiles("src/Kvm.X86")
                     where IsEngineFolder(file)
                     let text = Repository.Read(file)
                     where UnsafeWord().IsMatch(Source.CodeOnly(text))
                     where !text.TrimStart('\uFEFF', '\n').StartsWith("//", StringComparison.Ordinal)
                     select file;
        silent.Should().BeEmpty();
    }

    private static bool IsEngineFolder(string file) =>
        file.StartsWith("src/Kvm.X86/Execute/", StringComparison.Ordinal) || file.StartsWith("src/Kvm.X86/Translate/", StringComparison.Ordinal);

    private static IEnumerable<(string File, Source.Function Function)> Functions() =>
        from file in Repository.SourceFiles("src")
        from function in Source.Functions(Repository.Read(file))
        select (file, function);

    [GeneratedRegex(@"NotImplementedException|\bTODO\b|\bFIXME\b|\bHACK\b|\bXXX\b")]
    private static partial Regex LeftForLater();

    [GeneratedRegex(@"\b(class|struct|interface)\b")]
    private static partial Regex TypeWord();

    [GeneratedRegex(@"\bunsafe\b")]
    private static partial Regex UnsafeWord();
}
