using System.Globalization;
using System.Text;
using Kvm.Sched.Simulation;

namespace Kvm.Cli.Text;

/// <summary>Who ran when, as a picture: a block a policy, a lane a CPU, a colour a job.</summary>
internal static class GanttSvg
{
    private const int Left = 90;
    private const int Width = 1000;
    private const int Lane = 22;
    private const int MostLanes = 64;

    public static string Of(IReadOnlyList<SimulationResult> results, IReadOnlyList<SimulatedJob> jobs, int cpus)
    {
        int lanes = Math.Min(cpus, MostLanes), block = (lanes * Lane) + 48;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Left + Width + 20}\" height=\"{block * results.Count}\" font-family=\"sans-serif\" font-size=\"11\">\n")
            .Append("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
        for (int i = 0; i < results.Count; i++)
            AppendPolicy(text, results[i], jobs, lanes, i * block);
        return text.Append("</svg>\n").ToString();
    }

    private static void AppendPolicy(StringBuilder text, SimulationResult result, IReadOnlyList<SimulatedJob> jobs, int lanes, int top)
    {
        double scale = Width / (double)Math.Max(1, result.Measures.End);
        text.Append(CultureInfo.InvariantCulture, $"<g transform=\"translate(0 {top})\">\n<text x=\"4\" y=\"15\" font-weight=\"bold\">{result.Policy}</text>\n");
        for (int cpu = 0; cpu < lanes; cpu++)
            text.Append(CultureInfo.InvariantCulture, $"<text x=\"4\" y=\"{(cpu * Lane) + 37}\">CPU {cpu}</text><rect x=\"{Left}\" y=\"{(cpu * Lane) + 22}\" width=\"{Width}\" height=\"{Lane - 2}\" fill=\"#f0f0f0\"/>\n");
        foreach (var stay in result.Stays.Where(stay => stay.Cpu < lanes))
        {
            double x = Left + (stay.From * scale), width = (stay.To - stay.From) * scale;
            string name = Escape(jobs[stay.Job].Name);
            text.Append(CultureInfo.InvariantCulture, $"<rect x=\"{x:0.##}\" y=\"{(stay.Cpu * Lane) + 22}\" width=\"{Math.Max(width, 0.1):0.##}\" height=\"{Lane - 2}\" fill=\"{Colour(stay.Job)}\">")
                .Append(CultureInfo.InvariantCulture, $"<title>{name}: {stay.From / 1e6:0.###} to {stay.To / 1e6:0.###} ms</title></rect>\n");
            if (width > (name.Length * 7) + 4)
                text.Append(CultureInfo.InvariantCulture, $"<text x=\"{x + 3:0.##}\" y=\"{(stay.Cpu * Lane) + 37}\">{name}</text>\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"<text x=\"{Left}\" y=\"{(lanes * Lane) + 36}\">0</text><text x=\"{Left + Width}\" y=\"{(lanes * Lane) + 36}\" text-anchor=\"end\">{result.Measures.End / 1e6:0.###} ms</text>\n</g>\n");
    }

    // Neighbours in the file are far apart on the wheel.
    private static string Colour(int job) => string.Create(CultureInfo.InvariantCulture, $"hsl({job * 137 % 360} 65% {(job / 8 % 2 == 0 ? 70 : 55)}%)");

    private static string Escape(string name) => new StringBuilder(name).Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;").ToString() is var escaped
        ? string.Concat(escaped.Select(c => char.IsControl(c) ? '?' : c))
        : "";
}
