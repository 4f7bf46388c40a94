using System.Diagnostics;
using System.Globalization;

namespace Kvm.Tests.Support;

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
