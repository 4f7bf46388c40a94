using System.Globalization;
using Kvm.Sched;
using Kvm.Sched.Simulation;

namespace Kvm.Vmm.Configuration;

/// <summary>
/// Rules of a policy as somebody gave them: what <c>sched serve</c> takes, and <c>run</c> for the scheduler it may have to start. Times in
/// ns; 0 is not said. Immutable.
/// </summary>
public sealed record SchedulerRules
{
    /// <summary>The names of <see cref="Capacity"/>'s resources, from the first that can be said.</summary>
    private const int FirstOfCapacity = 1;

    private static readonly (string Option, Func<SchedulerRules, long> Asked, Func<PolicySettings, long> Has)[] s_times =
    [
        ("--slice", rules => rules.Slice, settings => settings.Slice),
        ("--ageing", rules => rules.Ageing, settings => settings.Ageing),
        ("--limit", rules => rules.Limit, settings => settings.Limit),
        ("--boost", rules => rules.Boost, settings => settings.Boost),
        ("--period", rules => rules.Period, settings => settings.Period),
    ];

    /// <summary><see cref="PolicySettings.Slice"/>.</summary>
    public long Slice { get; init; }

    /// <summary><see cref="PolicySettings.Ageing"/>.</summary>
    public long Ageing { get; init; }

    /// <summary><see cref="PolicySettings.Limit"/>.</summary>
    public long Limit { get; init; }

    /// <summary><see cref="PolicySettings.Boost"/>.</summary>
    public long Boost { get; init; }

    /// <summary><see cref="PolicySettings.Period"/>.</summary>
    public long Period { get; init; }

    /// <summary><see cref="PolicySettings.Capacity"/>, CPUs aside.</summary>
    public ResourceVector Capacity { get; init; }

    /// <summary><see cref="PolicySettings.Learn"/>.</summary>
    public bool Learn { get; init; }

    /// <summary>The rules, with the defaults of what is not said.</summary>
    public PolicySettings ToSettings()
    {
        var defaults = new PolicySettings();
        return defaults with
        {
            Slice = Slice > 0 ? Slice : defaults.Slice,
            Ageing = Ageing,
            Limit = Limit,
            Boost = Boost > 0 ? Boost : defaults.Boost,
            Period = Period > 0 ? Period : defaults.Period,
            Capacity = Capacity,
            Learn = Learn,
        };
    }

    /// <summary>The same as options of <c>sched serve</c>.</summary>
    public IReadOnlyList<string> ToArguments()
    {
        List<string> arguments = [];
        foreach (var (option, asked, _) in s_times)
        {
            if (asked(this) is > 0 and var time)
                arguments.AddRange([option, string.Create(CultureInfo.InvariantCulture, $"{time}ns")]);
        }

        if (CapacityText(Capacity) is { } capacity)
            arguments.AddRange(["--capacity", capacity]);
        if (Learn)
            arguments.Add("--learn");
        return arguments;
    }

    /// <summary>Where a scheduler's rules are others than these: an option, what it has and what was asked for. What is not said agrees.</summary>
    public IEnumerable<(string Option, string Has, string Asked)> DifferencesTo(PolicySettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        foreach (var (option, asked, has) in s_times)
        {
            if (asked(this) > 0 && asked(this) != has(settings))
                yield return (option, Time(has(settings)), Time(asked(this)));
        }

        for (int kind = FirstOfCapacity; kind < ResourceVector.Kinds; kind++)
        {
            if (Capacity[kind] > 0 && Capacity[kind] != settings.Capacity[kind])
                yield return ("--capacity", Amount(kind, settings.Capacity[kind]), Amount(kind, Capacity[kind]));
        }

        if (Learn && !settings.Learn)
            yield return ("--learn", "off", "on");
    }

    /// <summary>Amounts as people write them: <c>memory=16G,disk=500M,iops=100K,network=1G</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="capacity">The amounts; 0 of what is not named.</param>
    /// <returns>The part that is wrong and what is wrong with it; null where nothing is.</returns>
    public static (string Part, string Problem)? ParseCapacity(string text, out ResourceVector capacity)
    {
        ArgumentNullException.ThrowIfNull(text);
        capacity = default;
        foreach (string part in text.Split(','))
        {
            string[] sides = part.Split('=');
            if (sides.Length != 2 || !Amounts.TryParse(sides[1], out double amount) || amount <= 0)
                return (part, "is not an amount such as memory=16G");
            switch (sides[0])
            {
                case "memory":
                    capacity = capacity with { Memory = amount };
                    break;
                case "disk":
                    capacity = capacity with { DiskBytes = amount };
                    break;
                case "iops":
                    capacity = capacity with { DiskOperations = amount };
                    break;
                case "network":
                    capacity = capacity with { Network = amount };
                    break;
                default:
                    return (sides[0], $"is not one of {string.Join(", ", ResourceVector.Names.Skip(FirstOfCapacity))}");
            }
        }

        return null;
    }

    /// <summary>The same text; null where nothing is named.</summary>
    internal static string? CapacityText(in ResourceVector capacity)
    {
        List<string> parts = [];
        for (int kind = FirstOfCapacity; kind < ResourceVector.Kinds; kind++)
        {
            if (capacity[kind] > 0)
                parts.Add(Amount(kind, capacity[kind]));
        }

        return parts.Count > 0 ? string.Join(',', parts) : null;
    }

    private static string Amount(int kind, double amount) => amount > 0
        ? string.Create(CultureInfo.InvariantCulture, $"{ResourceVector.Names[kind]}={amount:0}")
        : $"{ResourceVector.Names[kind]} without end";

    private static string Time(long ns) => ns == 0 ? "off" : string.Create(CultureInfo.InvariantCulture, $"{ns / 1e6:0.######}ms");
}
