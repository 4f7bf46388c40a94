using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Kvm.X86.Tests.Programs;

/// <summary>Random user-mode programs give in the engine what they give on the host's processor.</summary>
public class ProgramDifferentialTests
{
    private const int StatesPerProgram = 16;
    private const string Unavailable = "the host's processor cannot be compared with, or the program's addresses are taken";

    [SkippableFact]
    public void RandomProgramsGiveWhatTheHostGives()
    {
        using var differential = ProgramDifferential.TryCreate();
        Skip.If(differential == null, Unavailable);
        ProgramGenerator generator = new(new Random(20));
        List<Disagreement> failures = [];
        for (int n = 0; n < 2500 && failures.Count < 20; n++)
        {
            if (differential.Check(generator.Next(), n * StatesPerProgram, StatesPerProgram) is { } failure)
                failures.Add(failure);
        }

        failures.Should().BeEmpty();
        differential.Cases.Should().BeGreaterThan(25_000);
        generator.Mnemonics.Should().BeGreaterThan(300);
    }

    [SkippableFact]
    public void ProgramsThatOnceDifferedGiveWhatTheHostGives()
    {
        using var differential = ProgramDifferential.TryCreate();
        Skip.If(differential == null, Unavailable);
        List<Disagreement> failures = [];
        foreach (string file in Directory.GetFiles(Folder(), "*.txt").Order(StringComparer.Ordinal))
        {
            foreach (string line in File.ReadLines(file).Where(line => line.Length > 0 && line[0] != '#'))
            {
                string[] words = line.Split(' ');
                var items = KeptProgram.Read(Convert.FromHexString(words[0]));
                int seed = int.Parse(words[1], CultureInfo.InvariantCulture);
                if ((differential.Check(items, seed, 1) ?? differential.Check(items, seed & ~15, 400)) is { } failure)
                    failures.Add(failure);
            }
        }

        failures.Should().BeEmpty();
        differential.Cases.Should().BePositive();
    }

    /// <summary>What `scripts/fuzz x86` runs: minutes and the file for its report come by the environment.</summary>
    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes == null || report == null, "for scripts/fuzz x86");
        using var differential = ProgramDifferential.TryCreate();
        Skip.If(differential == null, Unavailable);
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        ProgramGenerator generator = new(new Random(seed));
        Dictionary<string, Disagreement> failures = [];
        var limit = TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture));
        var clock = Stopwatch.StartNew();
        for (int n = 0; clock.Elapsed < limit && failures.Count < 100; n++)
        {
            if (differential!.Check(generator.Next(), (seed + n) * StatesPerProgram & int.MaxValue, StatesPerProgram) is { } failure)
                failures.TryAdd(KeptProgram.Name(failure), failure);
        }

        using StreamWriter writer = new(report!);
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"# {differential!.Cases} cases in {clock.Elapsed.TotalMinutes:f2} min, {differential.Cases / clock.Elapsed.TotalMinutes:f0} a minute, {generator.Mnemonics} mnemonics, {failures.Count} disagreements"));
        foreach (var failure in failures.Values)
            writer.WriteLine($"{failure.Bytes} {failure.Seed} # {failure.Text}: {failure.Difference.ReplaceLineEndings(" ")}");
        writer.Flush();
        failures.Values.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Cases");
}

/// <summary>Programs kept as bytes: straight ones, which is what shrinking leaves.</summary>
internal static class KeptProgram
{
    public static List<Item> Read(byte[] code)
    {
        List<Item> items = [];
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        for (int at = 0; at < code.Length; at += items[^1].Raw!.Length)
        {
            decoder.Decode(out var instruction);
            items.Add(new Item(ItemKind.Plain, instruction, code[at..(at + instruction.Length)], 0, 0));
        }

        return items;
    }

    /// <summary>The mnemonics: one failure of each kind is enough.</summary>
    public static string Name(Disagreement failure) =>
        string.Join(' ', failure.Text.Split("; ").Select(text => text.Split(' ')[0])) + failure.Difference.Split(':')[0];
}
