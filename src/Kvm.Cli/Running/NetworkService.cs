using System.Globalization;
using System.Text;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network.Model;

namespace Kvm.Cli.Running;

/// <summary>A network in the foreground: <c>net serve</c>.</summary>
internal static class NetworkService
{
    /// <summary>Serves until a signal, and then says what was counted.</summary>
    /// <param name="model">The network.</param>
    /// <param name="json">The counters as one document on standard output, instead of lines.</param>
    /// <returns>The exit code.</returns>
    public static int Run(NetworkModel model, bool json)
    {
        using var ended = new ManualResetEventSlim();
        int signal = 0;
        using var signals = new SignalGuard(
            number =>
            {
                Interlocked.CompareExchange(ref signal, number, 0);
                ended.Set();
            },
            () => { });
        string? fault = null;
        using var network = RunningNetwork.Serve(model, message =>
        {
            fault = message;
            ended.Set();
        }, Say);
        Say($"the network {model.Name} is there: --net model=FILE, or switch={model.Name}");
        ended.Wait();
        if (fault is not null)
            throw new InvalidOperationException(fault);
        StandardStreams.Output(json ? Json(network) : Text(network));
        return 128 + signal;
    }

    private static string Text(RunningNetwork network)
    {
        var text = new StringBuilder();
        foreach (var (name, value) in network.Counters.Where(counter => counter.Value != 0))
            text.Append(CultureInfo.InvariantCulture, $"{value,12} {name}\n");
        return text.ToString();
    }

    private static string Json(RunningNetwork network) => JsonText.Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("name", network.Model.Name);
        json.WriteStartObject("counters");
        foreach (var (name, value) in network.Counters)
            json.WriteNumber(name, value);
        json.WriteEndObject();
        json.WriteEndObject();
    });

    private static void Say(string message) => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n");
}
