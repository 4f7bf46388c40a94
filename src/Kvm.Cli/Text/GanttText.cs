using System.Globalization;
using System.Text;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Who ran when, as characters: a line a job.</summary>
internal static class GanttText
{
    private const int Columns = 80;
    private const int MostLines = 40;
    private const int NameWidth = 16;

    public static string Of(SimulationResult result, IReadOnlyList<SimulatedJob> jobs)
    {
        long end = Math.Max(1, result.Measures.End);
        int lines = Math.Min(jobs.Count, MostLines);
        var ran = new double[lines, Columns];
        foreach (var stay in result.Stays.Where(stay => stay.Job < lines))
        {
            for (int column = (int)(stay.From * (Int128)Columns / end); column < Columns && StartOf(column, end) < stay.To; column++)
                ran[stay.Job, column] += (double)(Math.Min(stay.To, StartOf(column + 1, end)) - Math.Max(stay.From, StartOf(column, end))) / (StartOf(column + 1, end) - StartOf(column, end));
        }

        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{result.Policy}: a character is {end / (double)Columns / 1e6:0.###} ms; # ran, + ran a part of it, . waited or halted\n");
        for (int job = 0; job < lines; job++)
            AppendJob(text, result, jobs, job, ran, end);
        if (jobs.Count > lines)
            text.Append(CultureInfo.InvariantCulture, $"({jobs.Count - lines} more jobs)\n");
        if (result.StaysCut)
            text.Append("(the rest of the time was not recorded)\n");
        return text.ToString();
    }

    private static void AppendJob(StringBuilder text, SimulationResult result, IReadOnlyList<SimulatedJob> jobs, int job, double[,] ran, long end)
    {
        string name = VisibleText.Escape(jobs[job].Name);
        text.Append((name.Length > NameWidth ? name[..NameWidth] : name).PadRight(NameWidth)).Append('|');
        long finish = result.Jobs[job].Finish is >= 0 and var at ? at : end;
        for (int column = 0; column < Columns; column++)
        {
            bool there = StartOf(column + 1, end) > jobs[job].Arrival && StartOf(column, end) < finish;
            text.Append(ran[job, column] > 0.95 ? '#' : ran[job, column] > 0 ? '+' : there ? '.' : ' ');
        }

        text.Append("|\n");
    }

    private static long StartOf(int column, long end) => (long)(end * (Int128)column / Columns);
}
