using System.Globalization;

namespace Kvm.Vmm.Scheduling;

/// <summary>What real guests did, as a jobs file that <c>sched simulate --jobs</c> reads: the same jobs in virtual time, under any policy.</summary>
public static class JobRecord
{
    /// <summary>The columns.</summary>
    public const string Header = "name,arrival,length,priority,weight,vcpus,memory,burst,halt,class";

    private const double Ms = 1_000_000;

    /// <summary>The line of a VM that ended.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="start">The moment that arrivals are counted from.</param>
    public static string Line(EndedVm vm, long start)
    {
        ArgumentNullException.ThrowIfNull(vm);
        var job = vm.Job;
        double length = Math.Max(0.001, vm.Ran / Ms / job.Vcpus);
        double burst = vm.Halts > 0 ? Math.Max(0.001, vm.Ran / Ms / (vm.Halts + job.Vcpus)) : 0;
        double halt = vm.Halts > 0 ? Math.Max(0.001, vm.Halted / Ms / vm.Halts) : 0;
        return string.Create(CultureInfo.InvariantCulture,
            $"{Quoted(vm.Request.Name)},{Math.Max(0, vm.Arrived - start) / Ms:0.###},{length:0.###},{job.Priority},{job.Weight},{job.Vcpus},{job.Needs.Memory:0},{burst:0.###},{halt:0.###},{Quoted(vm.Request.Class)}");
    }

    // A name is anything a person typed; a line stays a line.
    private static string Quoted(string text)
    {
        string plain = Configuration.VisibleText.Escape(text);
        return plain.AsSpan().IndexOfAny(",\"") < 0 && plain.Trim() == plain ? plain : $"\"{plain.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }
}
