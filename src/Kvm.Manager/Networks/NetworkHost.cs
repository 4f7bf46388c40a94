using System.Runtime.InteropServices;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network.Model;

namespace Kvm.Manager.Networks;

/// <summary>The process that serves one network: its switch, rules, addresses and names, until it is told to end.</summary>
public static class NetworkHost
{
    /// <summary>What the hidden verb calls it.</summary>
    public const string Role = "network";

    /// <summary>Serves a network.</summary>
    /// <param name="options">Where networks are.</param>
    /// <param name="name">The network.</param>
    /// <param name="generation">The start that this process is for; where the record names another it does nothing.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <returns>The exit code.</returns>
    public static int Run(ManagerOptions options, string name, long generation, Action<string> notice)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(notice);
        using var line = StartLine.Take();
        var store = new NetworkStore(options);
        // Whoever started this process has the lock until the record names it.
        if (!IsOurs(store, name, generation))
            return ExitCode.Success;
        using var ended = new ManualResetEventSlim();
        using var ending = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            ended.Set();
        });
        string? fault = null;
        try
        {
            using var network = RunningNetwork.Serve(NetworkModel.Load(store.ModelOf(name)), message =>
            {
                fault = message;
                ended.Set();
            }, notice);
            using var status = NetworkStatus.Serve(network, store.SocketOf(name));
            // After the last thing that needs any of it.
            Confinement.DropCalls();
            line?.Say();
            ended.Wait();
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            fault = e is VmmException known ? $"{known.Error.Id}: {known.Message}" : HostFailureText.Of(e);
        }

        if (fault is null)
            return ExitCode.Success;
        notice(fault);
        using (store.Lock(name))
        {
            if (store.TryRead(name) is { } record && record.Process == HostProcess.Own)
                store.Write(record with { Process = null, Problem = VisibleText.Escape(fault) });
        }

        line?.Say();
        return ExitCode.HostFailure;
    }

    private static bool IsOurs(NetworkStore store, string name, long generation)
    {
        using (store.Lock(name))
            return store.TryRead(name) is { } record && record.Generation == generation && record.Process == HostProcess.Own;
    }
}
