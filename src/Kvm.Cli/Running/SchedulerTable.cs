using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Host;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Cli.Running;

/// <summary>What running schedulers tell: <c>sched show</c> and <c>sched why</c>.</summary>
internal static class SchedulerTable
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    /// <summary>Prints the table of each scheduler of this user.</summary>
    /// <param name="format"><c>text</c>, <c>json</c> or <c>prometheus</c>.</param>
    /// <param name="watch">Again each second until a signal.</param>
    /// <returns>The exit code.</returns>
    public static int Show(string format, bool watch)
    {
        using var stop = new ManualResetEventSlim();
        using var signals = watch ? new SignalGuard(_ => stop.Set(), () => { }) : null;
        bool clear = watch && format == "text" && TerminalDescriptors.IsTerminal(TerminalDescriptors.Output);
        do
        {
            string text = Tables(format);
            StandardStreams.Output(clear ? StandardStreams.InPlace(text) : text);
        }
        while (watch && !stop.Wait(s_period));
        return ExitCode.Success;
    }

    /// <summary>Prints why a guest runs where it does, or waits.</summary>
    /// <returns>The exit code.</returns>
    public static int Why(string vm, bool json)
    {
        VmmException? unknown = null;
        foreach (var client in SchedulerClient.All(Folders.Runtime))
        {
            using (client)
            {
                try
                {
                    string text = client.Why(vm);
                    StandardStreams.Output(json ? JsonText.Of(writer =>
                    {
                        writer.WriteStartObject();
                        writer.WriteString("vm", vm);
                        writer.WriteStartArray("why");
                        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
                            writer.WriteStringValue(line);
                        writer.WriteEndArray();
                        writer.WriteEndObject();
                    }) : text);
                    return ExitCode.Success;
                }
                catch (VmmException e) when (e.Error == SchedulingErrors.NoSuchVm)
                {
                    unknown = new VmmException(e.Error, Vmm.Configuration.VisibleText.Quote(vm), e);
                }
            }
        }

        throw unknown ?? None();
    }

    private static string Tables(string format)
    {
        var tables = new List<string>();
        foreach (var client in SchedulerClient.All(Folders.Runtime))
        {
            using (client)
                tables.Add(client.Show(format));
        }

        if (tables.Count == 0)
            throw None();
        return format switch
        {
            "json" => $"{{\"schedulers\":[{string.Join(',', tables.Select(table => table.TrimEnd()))}]}}\n",
            "prometheus" => PrometheusText.Merge(tables),
            _ => string.Join('\n', tables),
        };
    }

    private static VmmException None() => new(SchedulingErrors.NotRunning, "no socket in the runtime folder answers");
}
