using System.Text;
using Kvm.Vmm.Probing;

namespace Kvm.Cli.Text;

/// <summary>The doctor's report for people.</summary>
internal static class DoctorText
{
    private const int TitleWidth = 18;
    private const int CapabilityWidth = 40;
    private const int ValueWidth = 12;

    /// <summary>The whole text.</summary>
    /// <param name="report">What was found.</param>
    /// <param name="colour">True on a terminal.</param>
    /// <param name="all">True to list capabilities that this program does not use, too.</param>
    public static string Of(DoctorReport report, bool colour, bool all)
    {
        var text = new StringBuilder();
        foreach (var check in report.Checks)
            AppendCheck(text, check, colour);
        AppendCapabilities(text, report, all);
        text.Append('\n');
        foreach (var engine in report.Engines)
            text.Append($"--engine {engine.Name,-6} {(engine.Usable ? "can run guests" : "cannot run guests")}: {engine.Why}\n");
        text.Append(report.Advice is { } advice
            ? $"--engine auto   takes {advice}: {report.AdviceReason}\n"
            : $"{report.AdviceReason}\n");
        return text.ToString();
    }

    private static void AppendCheck(StringBuilder text, DoctorCheck check, bool colour)
    {
        var status = DoctorJson.NameOf(check.Status).PadRight(8);
        text.Append(colour ? $"\x1b[{Colour(check.Status)}m{status}\x1b[0m" : status)
            .Append(check.Title.PadRight(TitleWidth)).Append(check.Finding).Append('\n');
        if (check.Cause is { } cause)
            text.Append(' ', 8 + TitleWidth).Append("why: ").Append(cause).Append('\n');
        if (check.Fix is { } fix)
            text.Append(' ', 8 + TitleWidth).Append("do:  ").Append(fix).Append('\n');
    }

    private static void AppendCapabilities(StringBuilder text, DoctorReport report, bool all)
    {
        if (report.Capabilities.Count == 0)
            return;
        text.Append(all ? "\nCapabilities of this KVM:\n" : "\nCapabilities of this KVM that kvmsharp uses (--verbose lists all):\n");
        foreach (var capability in report.Capabilities.Where(c => all || c.Used))
        {
            text.Append("  ").Append(capability.Name.PadRight(CapabilityWidth))
                .Append((capability.Value == 0 ? "-" : $"{capability.Value}").PadRight(ValueWidth)).Append(capability.Gives).Append('\n');
        }
    }

    // The terminal's own colours 2, 3 and 1: green, yellow, red.
    private static int Colour(DoctorStatus status) => status switch
    {
        DoctorStatus.Ok => 32,
        DoctorStatus.Warning => 33,
        _ => 31,
    };
}
