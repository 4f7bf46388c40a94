using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile guests chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz).</summary>
public sealed class DeviceFuzzTests
{
    public static TheoryData<string> Devices => new(FuzzTarget.Names);

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_input_of_the_corpus_leaves_the_host_whole_and_the_device_answering(string device)
    {
        var files = Directory.GetFiles(Folder(device), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            FuzzRun.Execute(device, File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Any_bytes_leave_the_host_whole_and_the_device_answering(string device) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(400).ToArbitrary(), bytes => FuzzRun.Execute(device, bytes).Wrong is null));

    [Theory]
    [MemberData(nameof(Devices))]
    public void The_same_bytes_are_the_same_run(string device)
    {
        byte[] bytes = new byte[2000];
        new Random(3).NextBytes(bytes);
        FuzzRun.Execute(device, bytes).Should().Be(FuzzRun.Execute(device, bytes));
    }

    public static TheoryData<string> LegacyDevices => new(FuzzTarget.Names.Where(name => name != "virtio-vsock"));

    [Theory]
    [MemberData(nameof(LegacyDevices))]
    public void Legacy_start_is_one_that_works(string device) => FuzzRun.AnswersLegacy(device).Should().BeTrue();

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        string device = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") ?? "";
        Skip.If(minutes is null || report is null || !FuzzTarget.Names.Contains(device), "for scripts/fuzz virtio-…");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(bytes => FuzzRun.Execute(device, bytes), Folder(device), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder(string device, [CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", device);
}

/// <summary>Runs one input: what was wrong, or null, and where the run has been.</summary>
internal delegate (string? Wrong, int Signature) FuzzRunner(ReadOnlySpan<byte> bytes);

/// <summary>Changes inputs that reached something, keeps those that reach something new, and writes down what fails.</summary>
internal sealed class FuzzSearch(FuzzRunner run, string folder, int seed)
{
    private readonly Random _random = new(seed);
    private readonly HashSet<int> _seen = [];
    private readonly List<byte[]> _pool = [];
    private long _runs;

    public List<string> Failures { get; } = [];

    public string Summary { get; private set; } = "";

    /// <summary>Searches.</summary>
    /// <param name="time">For how long.</param>
    /// <param name="keep">Writes inputs that reach something new into the corpus, up to 48.</param>
    public void Run(TimeSpan time, bool keep)
    {
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.GetFiles(folder, "*.bin"))
            Try(File.ReadAllBytes(file), file);
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < time && Failures.Count < 20)
        {
            byte[] input = Next();
            if (Try(input, null) && keep && Directory.GetFiles(folder, "*.bin").Length < 48)
                File.WriteAllBytes(Enumerable.Range(1, 999).Select(n => Path.Combine(folder, $"{n:d3}.bin")).First(path => !File.Exists(path)), input);
        }

        Summary = string.Create(CultureInfo.InvariantCulture, $"# {_runs} inputs in {clock.Elapsed.TotalMinutes:f2} min, {_seen.Count} places reached, {Failures.Count} failures");
    }

    /// <summary>True if it reached something new.</summary>
    private bool Try(byte[] input, string? file)
    {
        _runs++;
        var (wrong, signature) = run(input);
        if (wrong is not null)
        {
            string kept = file ?? Path.Combine(folder, $"found-{seed}-{Failures.Count}.bin");
            File.WriteAllBytes(kept, input);
            Failures.Add($"{kept}: {wrong.ReplaceLineEndings(" ")}");
            return false;
        }

        if (!_seen.Add(signature))
            return false;
        _pool.Add(input);
        return true;
    }

    private byte[] Next()
    {
        byte[] fresh = new byte[_random.Next(1, 600)];
        _random.NextBytes(fresh);
        if (_pool.Count == 0 || _random.Next(4) == 0)
            return fresh;
        byte[] old = _pool[_random.Next(_pool.Count)];
        switch (_random.Next(3))
        {
            case 0:
                return [.. old, .. fresh[..Math.Min(fresh.Length, 100)]];
            case 1:
                byte[] other = _pool[_random.Next(_pool.Count)];
                return [.. old[.._random.Next(old.Length + 1)], .. other[_random.Next(other.Length)..]];
            default:
                byte[] changed = [.. old];
                for (int i = _random.Next(8); i >= 0; i--)
                    changed[_random.Next(changed.Length)] = (byte)_random.Next(256);
                return changed;
        }
    }
}
