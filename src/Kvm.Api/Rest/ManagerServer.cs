using System.Globalization;
using System.Net.Sockets;
using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Manager.Commands;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Api.Rest;

/// <summary>How a manager is served. Immutable.</summary>
/// <param name="Version">The program's version.</param>
/// <param name="Runtime">What runs it.</param>
public sealed record ManagerServerSettings(string Version, string Runtime)
{
    /// <summary>The socket's path; null for <c>manager.sock</c> in the runtime folder.</summary>
    public string? SocketPath { get; init; }

    /// <summary>A socket that listens already, which is closed with the server; null to make one.</summary>
    public int? Descriptor { get; init; }

    /// <summary>A port of 127.0.0.1 for the page of all machines, 0 for a free one; null for none.</summary>
    public int? WebPort { get; init; }

    /// <summary>Takes messages for people. Any thread.</summary>
    public Action<string> Notice { get; init; } = static _ => { };
}

/// <summary>
/// <c>kvmsharp serve</c>: the REST API, who does operations, and who looks after machines. There is one of a state folder. Machines neither need it nor end with it.
/// Opened and disposed on one thread.
/// </summary>
public sealed class ManagerServer : IDisposable
{
    private readonly List<IDisposable> _parts = [];

    private ManagerServer()
    {
    }

    /// <summary>The socket's path; a word for it where it was given.</summary>
    public string Address { get; private set; } = "";

    /// <summary>The page's address with its token; null where there is none.</summary>
    public string? WebAddress { get; private set; }

    /// <summary>Begins to serve.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="settings">How.</param>
    /// <exception cref="VmmException">KVM0705: the socket cannot be made; KVM0706: another manager serves this state folder.</exception>
    /// <exception cref="IOException">The page's port is taken or not allowed.</exception>
    public static ManagerServer Open(ManagerOptions options, ManagerServerSettings settings)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(settings);
        var server = new ManagerServer();
        try
        {
            server.Address = settings.Descriptor is null ? Path.GetFullPath(settings.SocketPath ?? Path.Combine(options.RuntimeFolder, "manager.sock")) : "the socket it was given";
            server._parts.Add(Claim(options, server.Address));
            var services = server.Add(new RestServices(options, new VersionForm(settings.Version, settings.Runtime, !System.Runtime.CompilerServices.RuntimeFeature.IsDynamicCodeSupported, Environment.ProcessId)));
            // Before anybody can ask: what an earlier manager left waiting comes first.
            server.Add(CommandRunner.Start(services.Queue, settings.Notice));
            server.Add(Caretaker.Start(options, services.Pulse, settings.Notice));
            var table = TableOf(services);
            server.Add(settings.Descriptor is { } descriptor ? ApiServer.Open(Checked(descriptor), table) : ApiServer.Open(server.Address, table));
            if (settings.WebPort is { } port)
                server.WebAddress = server.Add(ManagerSite.Open(port, services, table)).Address;
            return server;
        }
        catch
        {
            server.Dispose();
            throw;
        }
    }

    /// <summary>Takes no more requests, lets those that run end, and leaves machines as they are.</summary>
    public void Dispose()
    {
        for (int i = _parts.Count - 1; i >= 0; i--)
            _parts[i].Dispose();
        _parts.Clear();
    }

    /// <summary>All that can be asked.</summary>
    internal static RouteTable TableOf(RestServices services)
    {
        var vms = new VmRoutes(services);
        var host = new HostRoutes(services);
        var table = new RouteTable("kvmsharp", [.. vms.All, .. new StreamRoutes(services).All, .. new SnapshotRoutes(services, vms).All, .. new PoolRoutes(services).All, .. new NetworkRoutes(services).All, .. host.All], refusal => refusal.ToAnswer());
        host.Table = table;
        return table;
    }

    private T Add<T>(T part)
        where T : IDisposable
    {
        _parts.Add(part);
        return part;
    }

    /// <summary>Two managers would do no harm, but one could not be told from the other.</summary>
    private static HostLock Claim(ManagerOptions options, string address)
    {
        string path = Path.Combine(options.StateFolder, "manager.lock");
        try
        {
            if (HostLock.TryAcquire(path, 0, TimeSpan.Zero) is not { } held)
                throw new VmmException(ApiErrors.OtherManager, $"{Other(path)} serves {VisibleText.Quote(options.StateFolder, 200)}");
            File.WriteAllText(path, string.Create(CultureInfo.InvariantCulture, $"process {Environment.ProcessId} at {address}"));
            return held;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(ManagerErrors.CannotKeep, $"{VisibleText.Quote(path, 200)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static string Other(string path) => File.ReadAllText(path) is { Length: > 0 and < 400 } who ? VisibleText.Escape(who) : "another process";

    private static int Checked(int descriptor)
    {
        try
        {
            using var socket = new Socket(new SafeSocketHandle(descriptor, ownsHandle: false));
            if (socket is { AddressFamily: AddressFamily.Unix, SocketType: SocketType.Stream })
                return descriptor;
        }
        catch (SocketException)
        {
            // None at all.
        }

        throw new VmmException(ApiErrors.NoSocket, "what this process was started with is no Unix stream socket");
    }
}
