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
        json.WriteNumber("memory", job.Needs.Memory);
        json.WriteNumber("disk", job.Needs.DiskBytes);
        json.WriteNumber("iops", job.Needs.DiskOperations);
        json.WriteNumber("network", job.Needs.Network);
        if (request.Affinity.Count > 0)
            json.WriteString("affinity", CpuList.Format(request.Affinity));
    });

    public static SchedulingRequest Read(JsonElement message, int processId) => new()
    {
        Name = Wire.Text(message, "name") is { Length: > 0 } name ? name : "guest",
        ProcessId = processId,
        Class = Wire.Text(message, "class") ?? "",
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
            Needs = new ResourceVector(
                0, Wire.Real(message, "memory", 0, 0, MostAmount), Wire.Real(message, "disk", 0, 0, MostAmount),
                Wire.Real(message, "iops", 0, 0, MostAmount), Wire.Real(message, "network", 0, 0, MostAmount)),
        },
    };
}
