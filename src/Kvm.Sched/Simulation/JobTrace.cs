using System.Globalization;

namespace Kvm.Sched.Simulation;

/// <summary>
/// What vCPUs really did, as a jobs file with a line a burst: a dispatcher writes it, the simulator runs it again under any policy.
/// Lines of one name are one job; what they say besides the vCPU, <c>run</c> and <c>halt</c> is taken from the first.
/// </summary>
public static class JobTrace
{
    /// <summary>The first line.</summary>
    public const string Header = "name,arrival,priority,weight,class,memory,affinity,cap,reservation,gang,vcpu,run,halt";

    /// <summary>Writes a burst of a vCPU, when its halt is over or it has ended; times in ns.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="name">The VM's.</param>
    /// <param name="arrival">When the VM arrived, from the start of the recording.</param>
    /// <param name="spec">The VM.</param>
    /// <param name="kind">Its class, or nothing.</param>
    /// <param name="vcpu">The vCPU's number in it.</param>
    /// <param name="burst">What it did. A burst of no CPU time is none and not written.</param>
    public static void Write(TextWriter writer, string name, long arrival, in JobSpec spec, string kind, int vcpu, RecordedBurst burst)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(kind);
        if (burst.Ran <= 0)
            return;
        string affinity = spec.Affinity is { } cpus && cpus.Count < cpus.Capacity ? cpus.ToString() : "";
        string who = string.Create(CultureInfo.InvariantCulture,
            $"{Quoted(name)},{arrival / 1e6m},{spec.Priority},{spec.Weight},{Quoted(kind)},{spec.Needs.Memory:0},{Quoted(affinity)},{spec.Cap},{spec.Reservation},{(spec.Gang ? 1 : 0)}");
        writer.Write(string.Create(CultureInfo.InvariantCulture, $"{who},{vcpu},{burst.Ran / 1e6m},{Math.Max(0, burst.Halted) / 1e6m}\n"));
    }

    private static string Quoted(string text) =>
        text.AsSpan().IndexOfAny(",\"#\n\r") < 0 && text.Trim() == text ? text : '"' + text.Replace("\"", "\"\"", StringComparison.Ordinal).ReplaceLineEndings(" ") + '"';

    /// <summary>The jobs of a trace's lines, in the order of their first lines.</summary>
    /// <exception cref="JobFileException">A vCPU is missing, or too much is there.</exception>
    internal static IEnumerable<SimulatedJob> Jobs(IReadOnlyList<(SimulatedJob Job, int Vcpu, RecordedBurst Burst, int Line)> lines)
    {
        foreach (var group in lines.GroupBy(line => line.Job.Name))
        {
            var first = group.First();
            var vcpus = new List<RecordedBurst>[group.Max(line => line.Vcpu) + 1];
            Int128 total = 0;
            foreach (var (_, vcpu, burst, number) in group)
            {
                (vcpus[vcpu] ??= []).Add(burst);
                total += burst.Ran;
                if (total > SimulatedJob.LatestTime)
                    throw new JobFileException(number, "run", "the job runs more than a hundred years");
            }

            int missing = Array.IndexOf(vcpus, null);
            if (missing >= 0)
                throw new JobFileException(first.Line, "vcpu", $"no line says what vCPU {missing} of this job did");
            yield return first.Job with
            {
                Recorded = vcpus,
                Length = Math.Max(1, (long)(total / vcpus.Length)),
                Burst = 0,
                Halt = 0,
                Spec = first.Job.Spec with { Vcpus = vcpus.Length },
            };
        }
    }
}
