using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Sched;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Scheduling;

/// <summary>The job scheduling table for people and for programs. Names of guests are shown with control characters escaped.</summary>
public static class SchedulingText
{
    private const double Ms = 1_000_000;

    /// <summary>vCPUs that the table for people names above it, because something is wrong with them.</summary>
    private const int MostFailures = 10;

    /// <summary>Guests that wait to be admitted and are listed below the table for people.</summary>
    private const int MostQueued = 20;

    /// <summary>The table.</summary>
    public static string Table(SchedulingView view, ServiceView service)
    {
        ArgumentNullException.ThrowIfNull(view);
        ArgumentNullException.ThrowIfNull(service);
        var text = new StringBuilder();
        var rules = view.Settings.Rules;
        text.Append(CultureInfo.InvariantCulture, $"policy {view.Settings.Policy}, slice {Number(rules.Slice / Ms)} ms, CPUs {CpuList.Format(view.Settings.Topology.Ids)}, {view.Vms.Count} guests");
        if (service.Waiting > 0)
            text.Append(CultureInfo.InvariantCulture, $", {service.Waiting} wait to be admitted");
        text.Append(CultureInfo.InvariantCulture, $"; promised {service.Memory / (1 << 20):0} of {service.Limits.Memory / (1 << 20):0} MiB, {service.Vcpus} of {service.Limits.Vcpus} vCPUs\n");
        if (view.RevokeLatency.Count > 0)
            text.Append(CultureInfo.InvariantCulture, $"revoke to parked: p50 {Number(view.RevokeLatency.P50 / Ms)} ms, p99 {Number(view.RevokeLatency.P99 / Ms)} ms, longest {Number(view.RevokeLatency.Longest / Ms)} ms ({view.RevokeLatency.Count})\n");
        if (service.CpuQuota < view.Settings.Topology.Count)
            text.Append(CultureInfo.InvariantCulture, $"the cgroup of the scheduler may use {Number(service.CpuQuota)} CPUs: beyond that the kernel stops all in it for the rest of a period\n");
        if (service.NoRealTime is { } why)
            text.Append("the dispatcher is no thread of real time: ").Append(why).Append('\n');
        if (view.EstimateError is { } error)
            text.Append(CultureInfo.InvariantCulture, $"learned lengths were off by {error:P0} of the real ones\n");
        foreach (var (vm, vcpu) in view.Vms.SelectMany(vm => vm.Vcpus, (vm, vcpu) => (vm, vcpu)).Where(pair => pair.vcpu.AffinityFailures > 0).Take(MostFailures))
            text.Append(CultureInfo.InvariantCulture, $"{VisibleText.Escape(vm.Name)} vCPU {vcpu.Index} {NotPut(vcpu)}\n");
        List<string[]> rows = [["VM", "vCPU", "state", "CPU", "ran ms", "waited ms", "slices", "moves", "left ms", "policy"]];
        foreach (var vm in view.Vms)
        {
            foreach (var vcpu in vm.Vcpus)
                rows.Add(Row(vm, vcpu));
        }

        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        text.Append('\n');
        foreach (string[] row in rows)
            text.Append(string.Join("  ", row.Select((cell, column) => column is 0 or 2 or 9 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column]))).TrimEnd()).Append('\n');
        WriteQueue(text, service);
        return text.ToString();
    }

    /// <summary>The reason for a VM's placement, a sentence for each vCPU; null where there is no such VM.</summary>
    public static string? Why(SchedulingView view, string name)
    {
        ArgumentNullException.ThrowIfNull(view);
        var vms = view.Vms.Where(vm => vm.Name == name || vm.ProcessId.ToString(CultureInfo.InvariantCulture) == name).ToList();
        if (vms.Count == 0)
            return null;
        var text = new StringBuilder();
        foreach (var vm in vms)
        {
            foreach (var vcpu in vm.Vcpus)
                text.Append(Sentence(view, vm, vcpu)).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The table as JSON; times in ms.</summary>
    public static string Json(SchedulingView view, ServiceView service)
    {
        ArgumentNullException.ThrowIfNull(view);
        ArgumentNullException.ThrowIfNull(service);
        var buffer = new ArrayBufferWriter<byte>(4096);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("policy", view.Settings.Policy);
            WriteRules(json, view.Settings.Rules);
            json.WriteString("cpus", CpuList.Format(view.Settings.Topology.Ids));
            json.WriteNumber("processId", service.ProcessId);
            json.WriteBoolean("realTime", service.NoRealTime is null);
            if (double.IsFinite(service.CpuQuota))
                json.WriteNumber("cpuQuota", Math.Round(service.CpuQuota, 6));
            else
                json.WriteNull("cpuQuota");
            json.WriteNumber("waiting", service.Waiting);
            WriteQueue(json, service);
            json.WriteStartObject("promised");
            json.WriteNumber("memory", service.Memory);
            json.WriteNumber("vcpus", service.Vcpus);
            json.WriteEndObject();
            WriteLatency(json, view);
            if (view.EstimateError is { } error)
                json.WriteNumber("estimateError", Math.Round(error, 6));
            else
                json.WriteNull("estimateError");
            json.WriteStartArray("vms");
            foreach (var vm in view.Vms)
                WriteVm(json, view, vm);
            json.WriteEndArray();
            WriteEnded(json, view);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    private static void WriteQueue(StringBuilder text, ServiceView service)
    {
        if (service.Queue.Count > 0)
            text.Append("\nwaiting to be admitted\n");
        foreach (var guest in service.Queue.Take(MostQueued))
            text.Append(CultureInfo.InvariantCulture, $"{guest.Position}  {VisibleText.Escape(guest.Name)} (process {guest.ProcessId}), since {guest.Waited / Ms:0} ms: {guest.Why}\n");
        if (service.Waiting > MostQueued)
            text.Append(CultureInfo.InvariantCulture, $"and {service.Waiting - MostQueued} more\n");
    }

    private static void WriteQueue(Utf8JsonWriter json, ServiceView service)
    {
        json.WriteStartArray("queue");
        foreach (var guest in service.Queue)
        {
            json.WriteStartObject();
            json.WriteNumber("position", guest.Position);
            json.WriteString("name", VisibleText.Escape(guest.Name));
            json.WriteNumber("processId", guest.ProcessId);
            json.WriteNumber("vcpus", guest.Job.Vcpus);
            json.WriteNumber("memory", guest.Job.Needs.Memory);
            WriteMs(json, "waitedMs", guest.Waited);
            json.WriteString("why", guest.Why);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static string[] Row(VmView vm, VcpuView vcpu) =>
    [
        VisibleText.Escape(vm.Name), Count(vcpu.Index), vcpu.State, vcpu.Cpu < 0 ? "-" : Count(vcpu.Cpu), Number(vcpu.Ran / Ms), Number(vcpu.Waited / Ms),
        Count(vcpu.Slices), Count(vcpu.Migrations), vcpu.SliceLeft switch { 0 => "-", long.MaxValue => "no end", var left => Number(left / Ms) }, vm.PolicyData,
    ];

    private static string Sentence(SchedulingView view, VmView vm, VcpuView vcpu)
    {
        string who = $"{VisibleText.Escape(vm.Name)} vCPU {Count(vcpu.Index)}";
        string slices = view.Settings.Policy == "host" ? "" : $" in {Count(vcpu.Slices)} slices";
        string past = $"It ran {Number(vcpu.Ran / Ms)} ms{slices} and waited {Number(vcpu.Waited / Ms)} ms.";
        if (vcpu.AffinityFailures > 0)
            past += $" It {NotPut(vcpu)}.";
        string confined = AffinityOf(view, vm) is { } cpus ? $" (CPUs {cpus})" : "";
        return vcpu.State switch
        {
            "starting" => $"{who} has not come to the gate yet: its machine is being built.",
            "done" => $"{who} has finished.",
            "bound" => $"{who} is bound to CPU {Count(vcpu.Cpu)}, the least loaded when it came or was moved last; the kernel slices time there. {past}",
            "no-cpu" => $"{who} {vcpu.Why}{confined}. {past}",
            "ready" => $"{who} {vcpu.Why}{Instead(view, vm)}. {past}",
            _ => $"{who} {vcpu.Why}. {past}",
        };
    }

    private static string NotPut(VcpuView vcpu) => $"could not be put on its CPU {Count(vcpu.AffinityFailures)} times: its process may not use it";

    /// <summary>The host's CPUs a VM is confined to; null for all.</summary>
    private static string? AffinityOf(SchedulingView view, VmView vm) => vm.Job.Affinity is { } allowed
        ? CpuList.Format(Enumerable.Range(0, view.Settings.Topology.Count).Where(allowed.Contains).Select(cpu => view.Settings.Topology[cpu].Id))
        : null;

    private static string Instead(SchedulingView view, VmView waiting)
    {
        var topology = view.Settings.Topology;
        var running = from vm in view.Vms
                      from vcpu in vm.Vcpus
                      where vcpu.State is "running" or "leaving"
                      where waiting.Job.Affinity is not { } allowed || Enumerable.Range(0, topology.Count).Any(cpu => topology[cpu].Id == vcpu.Cpu && allowed.Contains(cpu))
                      select $"{VisibleText.Escape(vm.Name)} vCPU {Count(vcpu.Index)} on CPU {Count(vcpu.Cpu)}";
        string names = string.Join(", ", running.Take(4));
        return names.Length == 0 ? "" : $"; now run {names}";
    }

    private static void WriteRules(Utf8JsonWriter json, PolicySettings rules)
    {
        WriteMs(json, "sliceMs", rules.Slice);
        WriteMs(json, "ageingMs", rules.Ageing);
        WriteMs(json, "limitMs", rules.Limit);
        WriteMs(json, "boostMs", rules.Boost);
        WriteMs(json, "periodMs", rules.Period);
        json.WriteBoolean("learn", rules.Learn);
        json.WriteString("capacity", SchedulerRules.CapacityText(rules.Capacity));
    }

    private static void WriteVm(Utf8JsonWriter json, SchedulingView view, VmView vm)
    {
        json.WriteStartObject();
        json.WriteString("name", VisibleText.Escape(vm.Name));
        json.WriteNumber("processId", vm.ProcessId);
        json.WriteNumber("priority", vm.Job.Priority);
        json.WriteNumber("weight", vm.Job.Weight);
        WriteMs(json, "lengthMs", vm.Job.Length);
        json.WriteString("class", VisibleText.Escape(vm.Class));
        json.WriteNumber("memory", vm.Job.Needs.Memory);
        json.WriteString("affinity", AffinityOf(view, vm));
        WriteMs(json, "ageMs", vm.Age);
        json.WriteString("policyData", vm.PolicyData);
        json.WriteStartArray("vcpus");
        foreach (var vcpu in vm.Vcpus)
        {
            json.WriteStartObject();
            json.WriteNumber("index", vcpu.Index);
            json.WriteString("state", vcpu.State);
            json.WriteNumber("cpu", vcpu.Cpu);
            WriteMs(json, "ranMs", vcpu.Ran);
            WriteMs(json, "waitedMs", vcpu.Waited);
            json.WriteNumber("slices", vcpu.Slices);
            json.WriteNumber("migrations", vcpu.Migrations);
            if (vcpu.SliceLeft == long.MaxValue)
                json.WriteNull("sliceLeftMs");
            else
                WriteMs(json, "sliceLeftMs", vcpu.SliceLeft);
            json.WriteNumber("threadId", vcpu.ThreadId);
            json.WriteNumber("affinityFailures", vcpu.AffinityFailures);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteLatency(Utf8JsonWriter json, SchedulingView view)
    {
        json.WriteStartObject("decisions");
        json.WriteNumber("run", view.Decisions[0]);
        json.WriteNumber("continue", view.Decisions[1]);
        json.WriteNumber("revoke", view.Decisions[2]);
        json.WriteEndObject();
        json.WriteStartObject("revokeToParked");
        json.WriteNumber("count", view.RevokeLatency.Count);
        WriteMs(json, "p50Ms", view.RevokeLatency.P50);
        WriteMs(json, "p99Ms", view.RevokeLatency.P99);
        WriteMs(json, "longestMs", view.RevokeLatency.Longest);
        json.WriteEndObject();
    }

    private static void WriteEnded(Utf8JsonWriter json, SchedulingView view)
    {
        json.WriteStartArray("ended");
        foreach (var vm in view.Ended)
        {
            json.WriteStartObject();
            json.WriteString("name", VisibleText.Escape(vm.Request.Name));
            WriteMs(json, "turnaroundMs", vm.Finished - vm.Arrived);
            WriteMs(json, "ranMs", vm.Ran);
            WriteMs(json, "waitedMs", vm.Waited);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteMs(Utf8JsonWriter json, string name, long ns) => json.WriteNumber(name, Math.Round(ns / Ms, 3));

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);

    private static string Count(long value) => value.ToString(CultureInfo.InvariantCulture);
}
