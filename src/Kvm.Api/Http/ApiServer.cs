using System.Buffers.Binary;
using System.Net.Sockets;
using Kvm.Vmm;
using Kvm.Vmm.Host;
using Kvm.Web;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.Extensions.DependencyInjection;

namespace Kvm.Api.Http;

/// <summary>
/// An API on a Unix socket, for this user and the administrator alone: the socket is of mode 0600, and who connects is asked of the kernel. Serves from
/// <see cref="Open(string, RouteTable)"/> until it is disposed; both on one thread.
/// </summary>
internal sealed class ApiServer : IDisposable
{
    /// <summary>The longest body of a request, in bytes.</summary>
    public const int MostBody = 1 << 20;

    /// <summary>The deepest body: arrays and objects within each other.</summary>
    public const int MostDepth = 64;

    /// <summary>Clients at a time; more are hung up on.</summary>
    public const int MostConnections = 128;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly ServiceProvider _services;
    private readonly IServer _server;
    private readonly IDisposable? _listener;
    private readonly CancellationTokenSource _ending = new();
    private bool _closed;

    private ApiServer(int descriptor, RouteTable table, IDisposable? listener)
    {
        _listener = listener;
        _services = KestrelServer.Create(descriptor, MostConnections, MostBody, MayAsk);
        _server = _services.GetRequiredService<IServer>();
        _server.StartAsync(new ApiApplication(table, _ending.Token), CancellationToken.None).GetAwaiter().GetResult();
    }

    /// <summary>Makes a socket and serves there. The path is gone after the end.</summary>
    /// <param name="path">The socket's path. A socket that was left behind there is replaced, anything else left alone.</param>
    /// <param name="table">What can be asked.</param>
    /// <exception cref="VmmException">KVM0705: the socket cannot be made.</exception>
    public static ApiServer Open(string path, RouteTable table)
    {
        HostListener? listener = null;
        try
        {
            listener = HostListener.Open(path);
            return new ApiServer(listener.Duplicate(), table, listener);
        }
        catch (IOException e)
        {
            listener?.Dispose();
            throw new VmmException(ApiErrors.NoSocket, e.Message, e);
        }
    }

    /// <summary>Serves on a socket that this process was started with; its path is whoever's who made it.</summary>
    /// <param name="descriptor">The socket, which listens. Closed with the server.</param>
    /// <param name="table">What can be asked.</param>
    public static ApiServer Open(int descriptor, RouteTable table) => new(descriptor, table, null);

    /// <summary>Ends streams, lets requests end for two seconds, and removes the socket.</summary>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        _ending.Cancel();
        using (var patience = new CancellationTokenSource(s_patience))
            _server.StopAsync(patience.Token).GetAwaiter().GetResult();
        _services.Dispose();
        _listener?.Dispose();
        _ending.Dispose();
    }

    /// <summary>By the socket's mode others cannot connect; who may do so anyway, through a folder of theirs or a descriptor handed on, is told by SO_PEERCRED (unix(7)).</summary>
    private static bool MayAsk(ConnectionContext connection)
    {
        const int solSocket = 1, soPeercred = 17;
        // struct ucred: pid, uid, gid.
        Span<byte> credentials = stackalloc byte[12];
        var socket = connection.Features.Get<IConnectionSocketFeature>()?.Socket;
        return socket is { AddressFamily: AddressFamily.Unix }
            && socket.GetRawSocketOption(solSocket, soPeercred, credentials) == credentials.Length
            && HostListener.IsTrusted(BinaryPrimitives.ReadUInt32LittleEndian(credentials[4..]));
    }
}
