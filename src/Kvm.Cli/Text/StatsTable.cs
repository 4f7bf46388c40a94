using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Running;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>The statistics of all running guests for people, a row each: rates since the last table. What guests tell is shown escaped.</summary>
internal sealed class StatsTable
{
    private Dictionary<string, Totals> _before = [];

    /// <summary>One table.</summary>
    /// <param name="answers">What guests said, in the order of the rows.</param>
    public string Of(IReadOnlyList<GuestAnswer> answers)
    {
        int width = Math.Max(8, answers.Count == 0 ? 0 : answers.Max(answer => answer.Name.Length));
        var text = new StringBuilder($"{"NAME".PadRight(width)}  {"ENGINE",-6}  {"UP",10}  {"VCPUS",5}  {"CPU",8}  {"EXITS/S",10}  {"COMPLETIONS/S",13}  MOST EXITS\n");
        Dictionary<string, Totals> now = [];
        foreach (var answer in answers)
        {
            text.Append(answer.Name.PadRight(width)).Append("  ");
            text.Append(answer.Stats is { } stats ? Row(stats, now[answer.Name] = Totals.Of(stats), _before.GetValueOrDefault(answer.Name)) : VisibleText.Escape(answer.Problem!.Message)).Append('\n');
        }

        // A guest that has gone is forgotten: a later one of its name begins anew.
        _before = now;
        return text.ToString();
    }

    private static string Row(JsonElement stats, Totals now, Totals before)
    {
        // The same process, later; a machine that was started again has no rate yet.
        double seconds = before.Process == now.Process && now.UpMs > before.UpMs ? (now.UpMs - before.UpMs) / 1000 : 0;
        string most = StatsText.Members(stats, "exits").OrderByDescending(exit => exit.Count).Select(exit => VisibleText.Escape(exit.Name)).FirstOrDefault("-");
        return string.Create(CultureInfo.InvariantCulture,
            $"{StatsText.Text(stats, "engine"),-6}  {now.UpMs / 1000,8:f1} s  {now.Vcpus,5}  {Rate((now.RunMs - before.RunMs) / 10, "f1", " %"),8}  {Rate(now.Exits - before.Exits, "f0", ""),10}  {Rate(now.Completions - before.Completions, "f0", ""),13}  {most}");

        string Rate(double more, string format, string unit) => seconds > 0 ? (Math.Max(0, more) / seconds).ToString(format, CultureInfo.InvariantCulture) + unit : "-";
    }

    private readonly record struct Totals(double Process, double UpMs, int Vcpus, double RunMs, double Exits, double Completions)
    {
        public static Totals Of(JsonElement stats)
        {
            var vcpus = StatsText.Array(stats, "vcpus").ToList();
            return new(StatsText.Number(stats, "processId"), StatsText.Number(stats, "upMs"), vcpus.Count, vcpus.Sum(vcpu => StatsText.Number(vcpu, "runMs")), Sum("exits"), Sum("completions"));

            double Sum(string table) => StatsText.Members(stats, table).Sum(row => (double)row.Count);
        }
    }
}
