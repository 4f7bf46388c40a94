using System.Text.Json;
using Kvm.Sched;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>A request to be scheduled, as JSON. What is out of bounds is taken as not said: people are told so before it is sent.</summary>
internal static class RegistrationForm
{
    private const double MostAmount = 1e18;

    public static byte[] Write(SchedulingRequest request, bool mayWait) => Wire.Frame(json =>
    {
        var job = request.Job;
        json.WriteString("op", "register");
        json.WriteString("name", request.Name);
        json.WriteString("admission", mayWait ? "queue" : "refuse");
        json.WriteNumber("vcpus", job.Vcpus);
        json.WriteNumber("priority", job.Priority);
        json.WriteNumber("weight", job.Weight);
        json.WriteNumber("length", job.Length);
        json.WriteString("class", request.Class);
        json.WriteNumber("cap", job.Cap);
        json.WriteNumber("reservation", job.Reservation);
        json.WriteBoolean("gang", job.Gang);
        json.WriteNumber("node", job.Node);
        WriteAmounts(json, job.Needs);
        if (request.Affinity.Count > 0)
            json.WriteString("affinity", CpuList.Format(request.Affinity));
    });

    public static SchedulingRequest Read(JsonElement message, int processId) => new()
    {
        Name = Wire.Text(message, "name") is { Length: > 0 } name ? name : "guest",
        ProcessId = processId,
        Class = Wire.Text(message, "class", SchedulingRequest.LongestClass) ?? "",
        Affinity = Wire.Text(message, "affinity", 4096) is { } list ? CpuList.Parse(list) ?? [] : [],
        Job = new JobSpec
        {
            Vcpus = (int)Wire.Number(message, "vcpus", 1, 1, VmConfig.MaxCpus),
            Priority = (int)Wire.Number(message, "priority", 0, -JobSpec.HighestPriority, JobSpec.HighestPriority),
            Weight = Wire.Real(message, "weight", 1, JobSpec.LeastWeight, JobSpec.MostWeight),
            Length = Wire.Number(message, "length", 0, 0, long.MaxValue / 4),
            Cap = Wire.Real(message, "cap", 0, 0, JobSpec.MostVcpus),
            Reservation = Wire.Real(message, "reservation", 0, 0, JobSpec.MostVcpus),
            Gang = message.TryGetProperty("gang", out var gang) && gang.ValueKind == JsonValueKind.True,
            Node = (int)Wire.Number(message, "node", -1, -1, CpuTopology.MostCpus),
            Needs = ReadAmounts(message),
        },
    };

    /// <summary>Memory, disk and network.</summary>
    public static ResourceVector ReadAmounts(JsonElement message) => new(
        0, Amount(message, 1), Amount(message, 2), Amount(message, 3), Amount(message, 4));

    public static void WriteAmounts(Utf8JsonWriter json, in ResourceVector amounts)
    {
        for (int kind = 1; kind < ResourceVector.Kinds; kind++)
            json.WriteNumber(ResourceVector.Names[kind], amounts[kind]);
    }

    private static double Amount(JsonElement message, int kind) => Wire.Real(message, ResourceVector.Names[kind], 0, 0, MostAmount);
}

/// <summary>The rules of a scheduler's policy among the members of its greeting; times in ns.</summary>
internal static class RulesForm
{
    public static void Write(Utf8JsonWriter json, PolicySettings rules)
    {
        json.WriteNumber("slice", rules.Slice);
        json.WriteNumber("ageing", rules.Ageing);
        json.WriteNumber("limit", rules.Limit);
        json.WriteNumber("boost", rules.Boost);
        json.WriteNumber("period", rules.Period);
        json.WriteBoolean("learn", rules.Learn);
        RegistrationForm.WriteAmounts(json, rules.Capacity);
    }

    public static PolicySettings Read(JsonElement message) => new()
    {
        Slice = Wire.Number(message, "slice", 0, 0, long.MaxValue),
        Ageing = Wire.Number(message, "ageing", 0, 0, long.MaxValue),
        Limit = Wire.Number(message, "limit", 0, 0, long.MaxValue),
        Boost = Wire.Number(message, "boost", 0, 0, long.MaxValue),
        Period = Wire.Number(message, "period", 0, 0, long.MaxValue),
        Learn = message.TryGetProperty("learn", out var learn) && learn.ValueKind == JsonValueKind.True,
        Capacity = RegistrationForm.ReadAmounts(message),
    };
}
