using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>A page that a verb serves: said where it is, ended by a signal or from the page.</summary>
internal sealed class LivePage : IDisposable
{
    private readonly LoopbackSite _site;
    private readonly CancellationTokenSource _ending = new();

    /// <param name="page">Which page: <c>trace</c> or <c>lab</c>.</param>
    /// <param name="port">The port, 0 for a free one.</param>
    /// <param name="feed">Its events.</param>
    /// <param name="command">Its commands but <c>quit</c>.</param>
    /// <exception cref="VmmException">The port is taken or not allowed.</exception>
    public LivePage(string page, int port, EventFeed feed, PageCommand command)
    {
        try
        {
            _site = LoopbackSite.Open(page, port, feed, (name, arguments, cancel) => name == "quit" ? Quit() : command(name, arguments, cancel));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or System.Net.Sockets.SocketException)
        {
            throw new VmmException(UsageErrors.CannotServe, $"port {port} of 127.0.0.1: {e.Message}", e);
        }
    }

    /// <summary>The address, with its token.</summary>
    public string Address => _site.Address;

    /// <summary>Cancelled by <see cref="End"/> and by the page's own button.</summary>
    public CancellationToken Ending => _ending.Token;

    /// <summary>Says on standard error where the page is.</summary>
    public void Announce(string what) => StandardStreams.Error($"kvmsharp: {what}: {Address}\n");

    /// <summary>Waits for a signal or for the page's button.</summary>
    /// <param name="what">What the page shows, to be said together with its address once signals are heard; null where that was said before.</param>
    public void WaitForEnd(string? what = null)
    {
        using var signals = new SignalGuard(_ => End(), () => { });
        if (what is not null)
            Announce(what);
        _ending.Token.WaitHandle.WaitOne();
    }

    /// <summary>Ends it; any thread, any number of times.</summary>
    public void End()
    {
        try
        {
            _ending.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It has ended.
        }
    }

    public void Dispose()
    {
        _site.Dispose();
        _ending.Dispose();
    }

    private Task<PageAnswer> Quit()
    {
        // The answer first: the site goes with its last word.
        _ = Task.Run(End);
        return Task.FromResult(LiveJson.Done(null));
    }
}
