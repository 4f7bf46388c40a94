using System.Diagnostics;
using System.Globalization;
using System.Text;
using Kvm.Labs.Assembling;
using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Catalog;

/// <summary>Lab 13: what three policies make of two guests, written down before it is simulated.</summary>
internal sealed class SchedulingLab() : Lab(13, "scheduling", "Two guests under three policies, worked by hand")
{
    private const int Slice = 2;
    private const int MostMilliseconds = 1_000_000;
    private static readonly string[] _policies = ["fcfs", "srtf", "rr"];
    private static readonly Schedules.Guest[] _guests = [new("A", 0, 6), new("B", 1, 3)];

    /// <inheritdoc/>
    public override string Extension => "txt";

    /// <inheritdoc/>
    public override LabReport Run(string source, LabOptions options, CancellationToken cancel = default)
    {
        var answers = Read(source, options);
        var text = new StringBuilder("A arrives at 0 ms and needs 6 ms, B arrives at 1 ms and needs 3 ms; slices of 2 ms; a character is 1 ms\n");
        foreach (string policy in _policies)
        {
            // What was not worked out yet is not given away.
            bool all = _guests.All(guest => answers.ContainsKey((policy, guest.Name)));
            text.Append(CultureInfo.InvariantCulture, $"\n{policy}\n");
            text.Append(all ? Schedules.Gantt([.. _guests.Select(guest => guest.Name)], Schedules.Of(policy, _guests, Slice).Stretches) : "  write down both numbers first\n");
        }

        return new LabReport(this, [], text.ToString());
    }

    /// <inheritdoc/>
    public override CheckReport Check(string source, LabOptions options, CancellationToken cancel = default)
    {
        var watch = Stopwatch.StartNew();
        var answers = Read(source, options);
        var lines = new List<CheckLine>();
        foreach (string policy in _policies)
        {
            var finish = Schedules.Of(policy, _guests, Slice).Finish;
            for (int i = 0; i < _guests.Length; i++)
            {
                string name = _guests[i].Name;
                string? problem = !answers.TryGetValue((policy, name), out int answer) ? "there is no number yet"
                    : answer == finish[i] ? null
                    : $"{answer} ms is too {(answer < finish[i] ? "early" : "late")}";
                lines.Add(new CheckLine($"{policy}: when {name} finishes", problem));
            }
        }

        return new CheckReport(this, [], lines, watch.Elapsed, cancel.IsCancellationRequested);
    }

    /// <summary>Reads lines <c>policy: A=number B=number</c>; a question mark is no number yet.</summary>
    private static Dictionary<(string Policy, string Guest), int> Read(string source, LabOptions options)
    {
        var answers = new Dictionary<(string, string), int>();
        var errors = new List<SourceError>();
        var lines = source.Length > AssemblerLimits.Source ? [] : source.ReplaceLineEndings("\n").Split('\n');
        if (lines.Length == 0)
            errors.Add(new SourceError(1, 1, "a source has at most 1 MiB"));
        for (int i = 0; i < lines.Length && errors.Count < AssemblerLimits.Errors; i++)
        {
            string line = lines[i].Split('#')[0].TrimEnd();
            if (line.Length == 0)
                continue;
            if (ReadLine(line, answers) is var (column, message))
                errors.Add(new SourceError(i + 1, column, message));
        }

        return errors.Count == 0 ? answers : throw new LabSourceException(options.FileName, errors);
    }

    private static (int Column, string Message)? ReadLine(string line, Dictionary<(string, string), int> answers)
    {
        int colon = line.IndexOf(':', StringComparison.Ordinal);
        string policy = colon < 0 ? "" : line[..colon].Trim();
        if (!_policies.Contains(policy))
            return (1, $"a line begins with {string.Join(", ", _policies)} and a colon");
        foreach (string word in line[(colon + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            int column = line.IndexOf(word, colon, StringComparison.Ordinal) + 1;
            var parts = word.Split('=');
            if (parts.Length != 2 || !_guests.Any(guest => guest.Name == parts[0]))
                return (column, $"A=milliseconds or B=milliseconds is expected, not {VisibleText.Quote(word, 40)}");
            if (parts[1] == "?")
                continue;
            if (!int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int value) || value > MostMilliseconds)
                return (column, $"a whole number of milliseconds is expected behind {parts[0]}=, not {VisibleText.Quote(parts[1], 40)}");
            answers[(policy, parts[0])] = value;
        }

        return null;
    }
}
