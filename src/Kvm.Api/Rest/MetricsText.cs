using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Manager;
using Kvm.Manager.Commands;
using Kvm.Vmm;

namespace Kvm.Api.Rest;

/// <summary>All machines in the text format of Prometheus, version 0.0.4. Labels are names of machines, states, verbs and exit reasons: nothing of a guest's choosing. Thread-safe: no state.</summary>
internal static class MetricsText
{
    public const string MediaType = "text/plain; version=0.0.4; charset=utf-8";

    private const string Prefix = "kvmsharp_";
    private const int AtOnce = 8;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(1);

    /// <summary>The text. Machines that do not answer within a second are left out of what only they know.</summary>
    public static async Task<string> Of(RestServices services, CancellationToken cancel)
    {
        var entries = services.Manager.List();
        var records = entries.Select(entry => entry.Record).OfType<VmRecord>().ToList();
        var text = new StringBuilder();
        Family(text, "vms", "gauge", "Machines by state.", Lifecycle.Names.Select((name, state) => ($"state=\"{name}\"", (double)records.Count(record => (int)record.State == state))));
        Family(text, "vms_unreadable", "gauge", "Machines whose record cannot be read.", [("", entries.Count - records.Count)]);
        Family(text, "vm_starts_total", "counter", "Times a machine was started.", records.Select(record => (Vm(record.Name), (double)record.Generation)));
        Family(text, "vm_restarts_total", "counter", "Times a machine was started again without being asked to.", records.Select(record => (Vm(record.Name), (double)record.Restarts)));
        var running = await Ask(services, [.. records.Where(record => record.State is VmState.Running or VmState.Paused)], cancel);
        Family(text, "vm_cpu_seconds_total", "counter", "CPU time of a vCPU.", running.SelectMany(vm => Vcpus(vm.Name, vm.Told)));
        Family(text, "vm_exits_total", "counter", "Exits of a machine by reason.", running.SelectMany(vm => Exits(vm.Name, vm.Told)));
        Family(text, "vm_resident_memory_bytes", "gauge", "Memory that the host has given to a machine's process, its guest's included.", running.Select(vm => (Vm(vm.Name), (double)vm.Resident)));
        var commands = services.Queue.List();
        Family(text, "operations", "gauge", "Operations by state; of those that have ended the last.", Command.StateNames.Select((name, state) => ($"state=\"{name}\"", (double)commands.Count(command => (int)command.State == state))));
        Family(text, "streams", "gauge", "Streams of events, logs and consoles that are open.", [("", services.Streams)]);
        Family(text, "event_gaps_total", "counter", "Times a reader of events was too slow, and events were lost to it.", [("", services.Gaps)]);
        return text.ToString();
    }

    private static async Task<IReadOnlyList<(string Name, JsonElement Told, long Resident)>> Ask(RestServices services, IReadOnlyList<VmRecord> records, CancellationToken cancel)
    {
        using var places = new SemaphoreSlim(AtOnce);
        var answers = await Task.WhenAll(records.Select(async record =>
        {
            await places.WaitAsync(cancel);
            try
            {
                var told = await Task.Run(() => RestServices.Ask(services.Manager, record.Name, "stats 1000 1", s_patience, cancel), cancel);
                return ((string Name, JsonElement Told, long Resident)?)(record.Name, told, record.Worker?.ResidentBytes ?? 0);
            }
            catch (VmmException)
            {
                // It has ended, or is too busy.
                return null;
            }
            finally
            {
                places.Release();
            }
        }));
        return [.. answers.Where(answer => answer is not null).Select(answer => answer!.Value)];
    }

    private static IEnumerable<(string Labels, double Value)> Vcpus(string name, JsonElement told) => told.GetProperty("vcpus").EnumerateArray()
        .Select(vcpu => (string.Create(CultureInfo.InvariantCulture, $"{Vm(name)},vcpu=\"{vcpu.GetProperty("index").GetInt32()}\""), vcpu.GetProperty("runMs").GetDouble() / 1000));

    private static IEnumerable<(string Labels, double Value)> Exits(string name, JsonElement told) => told.GetProperty("exits").EnumerateObject()
        .Select(exit => ($"{Vm(name)},reason=\"{Quoted(exit.Name)}\"", (double)exit.Value.GetInt64()));

    private static string Vm(string name) => $"vm=\"{Quoted(name)}\"";

    private static void Family(StringBuilder text, string name, string type, string help, IEnumerable<(string Labels, double Value)> samples)
    {
        text.Append(CultureInfo.InvariantCulture, $"# HELP {Prefix}{name} {help}\n# TYPE {Prefix}{name} {type}\n");
        foreach (var (labels, value) in samples)
            text.Append(CultureInfo.InvariantCulture, $"{Prefix}{name}{(labels.Length == 0 ? "" : $"{{{labels}}}")} {value:R}\n");
    }

    private static string Quoted(string text) => text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);
}
