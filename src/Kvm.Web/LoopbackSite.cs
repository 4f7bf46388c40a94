using System.Text.Json;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Kvm.Web;

/// <summary>What a page's command came to.</summary>
/// <param name="Json">One JSON value.</param>
/// <param name="Status">The HTTP status.</param>
public readonly record struct PageAnswer(byte[] Json, int Status = 200);

/// <summary>Does what a page asks for.</summary>
/// <param name="command">The command's name, of at most 32 letters.</param>
/// <param name="arguments">A JSON object, of 64 KiB at most. Whoever sent it knew the token; nothing more is known of it.</param>
/// <param name="cancel">The page does not wait any more.</param>
public delegate Task<PageAnswer> PageCommand(string command, JsonElement arguments, CancellationToken cancel);

/// <summary>
/// A page served to this machine alone: at a port of 127.0.0.1, to who has the address with its token, until it is disposed
/// (docs/web.md). Files come from the executable, events from a feed, commands go to a function.
/// </summary>
public sealed class LoopbackSite : IDisposable
{
    private readonly ServiceProvider _services;
    private readonly IServer _server;
    private readonly CancellationTokenSource _ending = new();
    private bool _closed;

    private LoopbackSite(ServiceProvider services)
    {
        _services = services;
        _server = services.GetRequiredService<IServer>();
    }

    /// <summary>The address, with the token: <c>http://127.0.0.1:PORT/TOKEN/</c>.</summary>
    public string Address { get; private set; } = "";

    /// <summary>Begins to serve.</summary>
    /// <param name="page">Which page: the name of an HTML file of this assembly, without its ending.</param>
    /// <param name="port">The port, 0 for a free one.</param>
    /// <param name="feed">The page's events. Ended with the site; otherwise the caller's.</param>
    /// <param name="command">Its commands. Called on threads of the pool, several at a time.</param>
    /// <exception cref="IOException">The port is taken or not allowed.</exception>
    public static LoopbackSite Open(string page, int port, EventFeed feed, PageCommand command)
    {
        var site = new LoopbackSite(KestrelServer.Create(port));
        try
        {
            string token = RequestGuard.NewToken();
            var requests = new PageRequests(page, feed, command, site._ending.Token);
            site._server.StartAsync(requests, CancellationToken.None).GetAwaiter().GetResult();
            int bound = new Uri(site._server.Features.Get<IServerAddressesFeature>()!.Addresses.Single()).Port;
            requests.Open(new RequestGuard(token, bound));
            site.Address = $"http://127.0.0.1:{bound}/{token}/";
            return site;
        }
        catch
        {
            site.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        _ending.Cancel();
        using (var patience = new CancellationTokenSource(TimeSpan.FromSeconds(1)))
            _server.StopAsync(patience.Token).GetAwaiter().GetResult();
        _services.Dispose();
        _ending.Dispose();
    }
}
