using System.Globalization;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Cli.Running;

/// <summary>The scheduler in the foreground: <c>sched serve</c>.</summary>
internal static class SchedulerService
{
    /// <summary>Serves until a signal, or until its guests have ended.</summary>
    /// <param name="settings">How to serve.</param>
    /// <param name="recordPath">The file that takes a line for each guest that ended, or null.</param>
    /// <param name="json">Events as JSON on standard output, one a line, instead of messages.</param>
    /// <param name="inherited">Whether <c>run</c> started this process and gave it the socket.</param>
    /// <returns>The exit code.</returns>
    public static int Run(SchedulerServerSettings settings, string? recordPath, bool inherited, bool json)
    {
        using var record = recordPath is null ? null : OpenRecord(recordPath);
        int signal = 0;
        using var server = SchedulerServer.Open(
            settings with { Notice = Say, Record = record, Event = json ? TellJson : TellText }, Folders.Runtime, inherited);
        using var signals = new SignalGuard(
            number =>
            {
                Interlocked.CompareExchange(ref signal, number, 0);
                server.Stop();
            },
            () => { });
        var dispatcher = settings.Dispatcher;
        Say($"policy {dispatcher.Policy} for CPUs {CpuList.Format(dispatcher.Topology.Ids)}");
        server.Run();
        return signal == 0 ? ExitCode.Success : 128 + signal;
    }

    private static StreamWriter OpenRecord(string path)
    {
        try
        {
            return new StreamWriter(path, append: false) { AutoFlush = true };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static void TellText(SchedulingEvent what)
    {
        string process = what.ProcessId == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" (process {what.ProcessId})");
        Say($"{what.Kind}: {what.Subject}{process} {what.Detail}".TrimEnd());
    }

    private static void TellJson(SchedulingEvent what) => StandardStreams.Output(JsonText.Line(json =>
    {
        json.WriteStartObject();
        json.WriteString("event", what.Kind);
        json.WriteString("subject", what.Subject);
        json.WriteNumber("processId", what.ProcessId);
        json.WriteString("detail", what.Detail);
        json.WriteEndObject();
    }));

    private static void Say(string message) => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n");
}
