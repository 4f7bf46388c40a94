using System.Diagnostics;
using System.Globalization;
using Kvm.X86.Engine;
using Kvm.X86.Tests.Programs;

namespace Kvm.X86.Tests.Hostile;

/// <summary>Whatever the guest is: no host exception, nothing outside guest memory, kicks obeyed, and both tiers alike.</summary>
public sealed class EngineFuzzTests
{
    [Fact]
    public void RandomMachinesHarmNobodyAndDoTheSameInBothTiers()
    {
        using EngineFuzz fuzz = new();
        List<string> failures = [];
        for (int seed = 0; seed < 300 && failures.Count < 5; seed++)
        {
            if (fuzz.Check(seed) is { } failure)
                failures.Add($"seed {seed}: {failure}");
        }

        failures.Should().BeEmpty();
        fuzz.Instructions.Should().BeGreaterThan(50_000);
        fuzz.ShadowFills.Should().BeGreaterThan(1000);
        fuzz.Exits[(int)SoftExit.Limit].Should().BePositive();
        fuzz.Exits[(int)SoftExit.Shutdown].Should().BePositive();
    }

    [Fact]
    public void RandomMachinesDoNotMakeTheHostGrow()
    {
        using EngineFuzz fuzz = new();
        for (int seed = 1000; seed < 1010; seed++)
            fuzz.Check(seed);
        long before = Process.GetCurrentProcess().PrivateMemorySize64;
        for (int seed = 1010; seed < 1040; seed++)
            fuzz.Check(seed);
        GC.Collect();
        using var now = Process.GetCurrentProcess();
        (now.PrivateMemorySize64 - before).Should().BeLessThan(400L << 20, "machines give back what they took");
    }

    /// <summary>What `scripts/fuzz engine` runs: minutes and the file for its report come by the environment.</summary>
    [SkippableFact]
    public void FuzzMachinesForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes == null || report == null, "for scripts/fuzz engine");
        int first = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        using Journal? journal = Journal.TryCreate(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_LAST"));
        using EngineFuzz fuzz = new(journal);
        List<string> failures = [];
        var limit = TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture));
        var clock = Stopwatch.StartNew();
        int seed = first;
        for (; clock.Elapsed < limit && failures.Count < 20; seed++)
        {
            if (fuzz.Check(seed) is { } failure)
                failures.Add($"{seed} {failure}");
        }

        using StreamWriter writer = new(report!);
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"# {seed - first} machines in {clock.Elapsed.TotalMinutes:f2} min, {fuzz.Instructions} instructions compared, {fuzz.Translations} blocks translated, {fuzz.ShadowFills} shadow entries, {fuzz.Undefined} parted at undefined flags, slowest kick {fuzz.SlowestKick.TotalMilliseconds:f1} ms, {failures.Count} failures"));
        foreach (string failure in failures)
            writer.WriteLine(failure.ReplaceLineEndings(" "));
        writer.Flush();
        failures.Should().BeEmpty();
    }
}
