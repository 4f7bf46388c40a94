using System.Text.Json;
using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Configuration;

/// <summary>The member <c>scheduling</c>: ours.</summary>
internal ref partial struct ConfigParser
{
    private const long NanosecondsPerMicrosecond = 1000;
    private const long NanosecondsPerMillisecond = 1_000_000;

    private void ReadScheduling()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Scheduling);
        var seen = 0u;
        var scheduling = _settings.Scheduling;
        while (NextMember(ConfigMembers.OfScheduling, ConfigMembers.Scheduling, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.Affinity:
                    _machine = _machine with { Affinity = IsNull() ? [] : CpuList.Parse(Text(member)) ?? throw BadValue(member, "is not a list of CPUs such as 0-3,8") };
                    break;
                case ConfigMembers.Policy:
                    scheduling = scheduling with { Policy = IsNull() ? null : PolicyNames.All[OneOf(member, PolicyNames.All)] };
                    break;
                case ConfigMembers.Priority:
                    scheduling = scheduling with { Priority = (int)Number(member, -JobSpec.HighestPriority, JobSpec.HighestPriority) };
                    break;
                case ConfigMembers.Weight:
                    scheduling = scheduling with { Weight = Real(member, JobSpec.LeastWeight, JobSpec.MostWeight) };
                    break;
                case ConfigMembers.LengthMs:
                    scheduling = scheduling with { Length = Number(member, 0, long.MaxValue / 8 / NanosecondsPerMillisecond) * NanosecondsPerMillisecond };
                    break;
                case ConfigMembers.Class:
                    scheduling = scheduling with { Class = TextOrNull(member) ?? "" };
                    break;
                case ConfigMembers.Cap:
                    scheduling = scheduling with { Cap = Real(member, 0, JobSpec.MostVcpus) };
                    break;
                case ConfigMembers.Reservation:
                    scheduling = scheduling with { Reservation = Real(member, 0, JobSpec.MostVcpus) };
                    break;
                case ConfigMembers.Gang:
                    scheduling = scheduling with { Gang = Flag(member) };
                    break;
                case ConfigMembers.Admission:
                    scheduling = scheduling with { MayWait = OneOf(member, SchedulingSettings.Admissions) == 1 };
                    break;
                case ConfigMembers.OnLoss:
                    scheduling = scheduling with { StopOnLoss = OneOf(member, SchedulingSettings.Losses) == 1 };
                    break;
                default:
                    scheduling = scheduling with { Rules = ReadRule(scheduling.Rules, member) };
                    break;
            }
        }

        _settings = _settings with { Scheduling = scheduling };
    }

    private SchedulerRules ReadRule(SchedulerRules rules, string member) => member switch
    {
        ConfigMembers.SliceUs => rules with { Slice = Microseconds(member) },
        ConfigMembers.AgeingUs => rules with { Ageing = Microseconds(member) },
        ConfigMembers.LimitUs => rules with { Limit = Microseconds(member) },
        ConfigMembers.BoostUs => rules with { Boost = Microseconds(member) },
        ConfigMembers.PeriodUs => rules with { Period = Microseconds(member) },
        ConfigMembers.Capacity => rules with { Capacity = ReadCapacity(member) },
        _ => rules with { Learn = Flag(member) },
    };

    private long Microseconds(string member)
    {
        const long least = PolicySettings.ShortestSlice / NanosecondsPerMicrosecond, most = PolicySettings.LongestSlice / NanosecondsPerMicrosecond;
        return IsNull() ? 0 : Number(member, least, most) * NanosecondsPerMicrosecond;
    }

    private ResourceVector ReadCapacity(string member)
    {
        if (IsNull())
            return default;
        return SchedulerRules.ParseCapacity(Text(member), out var capacity) is { } wrong ? throw BadValue(member, $"has {VisibleText.Quote(wrong.Part, 40)}, which {wrong.Problem}") : capacity;
    }

    private readonly double Real(string member, double least, double most) =>
        _json.TokenType == JsonTokenType.Number && _json.TryGetDouble(out double value) && value >= least && value <= most
            ? value
            : throw BadValue(member, $"is not a number from {least} to {most}");
}
