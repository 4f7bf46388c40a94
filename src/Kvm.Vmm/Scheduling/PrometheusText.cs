using System.Globalization;
using System.Text;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// A scheduler's numbers in the text format of Prometheus, version 0.0.4. Each sample is labelled with the policy and the CPUs that the
/// scheduler rules, so that several of them are told apart in one text (<see cref="Merge"/>).
/// </summary>
public static class PrometheusText
{
    private const string Prefix = "kvmsharp_sched_";

    /// <summary>The text of one scheduler.</summary>
    public static string Of(SchedulingView view, ServiceView service)
    {
        ArgumentNullException.ThrowIfNull(view);
        ArgumentNullException.ThrowIfNull(service);
        var text = new StringBuilder();
        string of = $"policy=\"{view.Settings.Policy}\",cpus=\"{CpuList.Format(view.Settings.Topology.Ids)}\"";
        Family(text, "guests", "gauge", "Guests under the scheduler.", [(of, view.Vms.Count)]);
        Family(text, "queued", "gauge", "Guests that wait to be admitted.", [(of, service.Waiting)]);
        Family(text, "promised_memory_bytes", "gauge", "Memory promised to guests.", [(of, service.Memory)]);
        Family(text, "promised_vcpus", "gauge", "vCPUs promised to guests.", [(of, service.Vcpus)]);
        string[] kinds = ["run", "continue", "revoke"];
        Family(text, "decisions_total", "counter", "Decisions applied.", kinds.Select((kind, i) => ($"{of},kind=\"{kind}\"", (double)view.Decisions[i])));
        if (view.EstimateError is { } error)
            Family(text, "estimate_error_ratio", "gauge", "How far learned lengths were off, as a part of the real ones.", [(of, error)]);
        Revokes(text, view, of);
        Vcpus(text, view, of);
        return text.ToString();
    }

    /// <summary>The texts of several schedulers as one: every family once, with the samples of all.</summary>
    public static string Merge(IEnumerable<string> texts)
    {
        ArgumentNullException.ThrowIfNull(texts);
        List<string> order = [];
        var families = new Dictionary<string, StringBuilder>(StringComparer.Ordinal);
        foreach (string text in texts)
        {
            StringBuilder? family = null;
            bool isNew = false;
            foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                // A family begins with its help; what stands there once stands there for all.
                if (line.StartsWith("# HELP ", StringComparison.Ordinal))
                {
                    isNew = !families.TryGetValue(line, out family);
                    if (isNew)
                    {
                        order.Add(line);
                        families[line] = family = new StringBuilder(line).Append('\n');
                    }
                }
                else if (isNew || line[0] != '#')
                {
                    family?.Append(line).Append('\n');
                }
            }
        }

        return string.Concat(order.Select(name => families[name].ToString()));
    }

    private static void Revokes(StringBuilder text, SchedulingView view, string of)
    {
        const string name = "revoke_seconds";
        var latency = view.RevokeLatency;
        Family(text, name, "summary", "From taking a permit away to the thread's being parked.",
            [($"{of},quantile=\"0.5\"", latency.P50 / 1e9), ($"{of},quantile=\"0.99\"", latency.P99 / 1e9), ($"{of},quantile=\"1\"", latency.Longest / 1e9)]);
        Sample(text, name + "_sum", of, latency.Sum / 1e9);
        Sample(text, name + "_count", of, latency.Count);
    }

    private static void Vcpus(StringBuilder text, SchedulingView view, string of)
    {
        var vcpus = view.Vms.SelectMany(vm => vm.Vcpus, (vm, vcpu) => (Labels: $"{of},{Labels(vm, vcpu)}", Vcpu: vcpu)).ToList();
        Family(text, "vcpu_ran_seconds_total", "counter", "CPU time charged.", vcpus.Select(v => (v.Labels, v.Vcpu.Ran / 1e9)));
        Family(text, "vcpu_waited_seconds_total", "counter", "Time ready without a CPU.", vcpus.Select(v => (v.Labels, v.Vcpu.Waited / 1e9)));
        Family(text, "vcpu_slices_total", "counter", "Slices given.", vcpus.Select(v => (v.Labels, (double)v.Vcpu.Slices)));
        Family(text, "vcpu_migrations_total", "counter", "Changes of CPU.", vcpus.Select(v => (v.Labels, (double)v.Vcpu.Migrations)));
        Family(text, "vcpu_affinity_failures_total", "counter", "Times a thread could not be put on its CPU.", vcpus.Select(v => (v.Labels, (double)v.Vcpu.AffinityFailures)));
        Family(text, "vcpu_cpu", "gauge", "The CPU a vCPU is on, or was on last; -1 for none.", vcpus.Select(v => (v.Labels, (double)v.Vcpu.Cpu)));
        Family(text, "vcpu_state", "gauge", "1 for the state a vCPU is in.", vcpus.Select(v => ($"{v.Labels},state=\"{v.Vcpu.State}\"", 1.0)));
    }

    private static void Family(StringBuilder text, string name, string type, string help, IEnumerable<(string Labels, double Value)> samples)
    {
        text.Append("# HELP ").Append(Prefix).Append(name).Append(' ').Append(help).Append("\n# TYPE ").Append(Prefix).Append(name).Append(' ').Append(type).Append('\n');
        foreach (var (labels, value) in samples)
            Sample(text, name, labels, value);
    }

    private static void Sample(StringBuilder text, string name, string labels, double value) =>
        text.Append(Prefix).Append(name).Append('{').Append(labels).Append("} ").Append(value.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string Labels(VmView vm, VcpuView vcpu) =>
        string.Create(CultureInfo.InvariantCulture, $"vm=\"{Quoted(VisibleText.Escape(vm.Name))}\",pid=\"{vm.ProcessId}\",vcpu=\"{vcpu.Index}\"");

    private static string Quoted(string text) => text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal);
}
