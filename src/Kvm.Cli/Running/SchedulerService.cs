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
    /// <param name="inherited">Whether <c>run</c> started this process and gave it the socket.</param>
    /// <returns>The exit code.</returns>
    public static int Run(SchedulerServerSettings settings, string? recordPath, bool inherited)
    {
        using var record = recordPath is null ? null : OpenRecord(recordPath);
        int signal = 0;
        using var server = SchedulerServer.Open(
            settings with { Notice = Say, Record = record is null ? null : line => Write(record, line) }, Folders.Runtime, inherited);
        using var signals = new SignalGuard(
            number =>
            {
                Interlocked.CompareExchange(ref signal, number, 0);
                server.Stop();
            },
            () => { });
        var dispatcher = settings.Dispatcher;
        Say($"policy {dispatcher.Policy} for CPUs {string.Join(',', Enumerable.Range(0, dispatcher.Topology.Count).Select(cpu => dispatcher.Topology[cpu].Id))}");
        server.Run();
        return signal == 0 ? ExitCode.Success : 128 + signal;
    }

    private static StreamWriter OpenRecord(string path)
    {
        try
        {
            var writer = new StreamWriter(path, append: false) { AutoFlush = true };
            writer.WriteLine(JobRecord.Header);
            return writer;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.CannotWrite, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static void Write(StreamWriter record, string line)
    {
        try
        {
            record.WriteLine(line);
        }
        catch (IOException e)
        {
            Say($"the record lost a line: {HostFailureText.Of(e)}");
        }
    }

    private static void Say(string message) => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n");
}
