using Kvm.Sched;
using Kvm.Sched.Simulation;

namespace Kvm.Labs.Catalog;

/// <summary>Small schedules in milliseconds, by the simulator of Kvm.Sched.</summary>
internal static class Schedules
{
    private const long Millisecond = 1_000_000;

    /// <summary>A guest: its name, when it arrives and what it needs, in milliseconds.</summary>
    public readonly record struct Guest(string Name, int Arrival, int Length);

    /// <summary>Who ran when, in milliseconds.</summary>
    public readonly record struct Stretch(string Name, int From, int To);

    /// <summary>What a policy makes of guests on one processor: when each finishes, and who ran when.</summary>
    public static (IReadOnlyList<int> Finish, IReadOnlyList<Stretch> Stretches) Of(string policy, IReadOnlyList<Guest> guests, int slice)
    {
        var jobs = guests.Select(guest => new SimulatedJob
        {
            Name = guest.Name,
            Arrival = guest.Arrival * Millisecond,
            Length = guest.Length * Millisecond,
            Spec = new JobSpec { Length = guest.Length * Millisecond },
        }).ToList();
        var settings = new SimulationSettings { Policy = new PolicySettings { Slice = slice * Millisecond }, MostStays = 1000 };
        var result = Simulator.Run(policy, jobs, settings);
        return ([.. result.Jobs.Select(job => (int)(job.Finish / Millisecond))],
            [.. result.Stays.OrderBy(stay => stay.From).Select(stay => new Stretch(guests[stay.Job].Name, (int)(stay.From / Millisecond), (int)(stay.To / Millisecond)))]);
    }

    /// <summary>Joins stretches of one guest that follow one another.</summary>
    public static List<Stretch> Joined(IEnumerable<Stretch> stretches)
    {
        var joined = new List<Stretch>();
        foreach (var stretch in stretches)
        {
            if (joined.Count > 0 && joined[^1].Name == stretch.Name && joined[^1].To == stretch.From)
                joined[^1] = joined[^1] with { To = stretch.To };
            else
                joined.Add(stretch);
        }

        return joined;
    }

    /// <summary>A line for each guest, a character for each millisecond.</summary>
    public static string Gantt(IReadOnlyList<string> names, IReadOnlyList<Stretch> stretches)
    {
        int end = stretches.Count == 0 ? 0 : Math.Min(200, stretches.Max(stretch => stretch.To));
        return string.Concat(names.Select(name => $"  {name} |{new string([.. Enumerable.Range(0, end).Select(at => stretches.Any(s => s.Name == name && s.From <= at && at < s.To) ? '#' : '.')])}|\n"));
    }

    /// <summary><c>A 0-2, B 2-4</c>.</summary>
    public static string Say(IEnumerable<Stretch> stretches) => string.Join(", ", stretches.Select(stretch => $"{stretch.Name} {stretch.From}-{stretch.To}"));
}
