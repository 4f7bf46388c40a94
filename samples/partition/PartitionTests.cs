namespace Samples.Partition;

/// <summary>
/// Two guests, a writer and a watcher that says whether the writer can be reached, and the network between them cut and mended: what a failure detector has to get right.
/// </summary>
public sealed class PartitionTests : IAsyncLifetime
{
    private readonly GuestNetwork _network = GuestNetwork.Of("writer", "watcher");
    private GuestUnavailableException? _unavailable;
    private Guest _writer = null!, _watcher = null!;

    [VmFact]
    public async Task The_watcher_notices_that_the_network_is_cut_and_that_it_is_mended()
    {
        await WatcherSaysAsync("alive");

        _network.Cut("writer", "watcher");
        await WatcherSaysAsync("lost");
        Assert.Equal("I am here", await _writer.CheckAsync("echo", "I am here"));

        _network.Mend("writer", "watcher");
        await WatcherSaysAsync("alive");
    }

    [VmFact]
    public async Task The_watcher_notices_that_the_writer_is_gone()
    {
        await WatcherSaysAsync("alive");
        await _writer.StopAsync();
        await WatcherSaysAsync("lost");
    }

    /// <summary>Boots both at once, and starts the two programs.</summary>
    async Task IAsyncLifetime.InitializeAsync()
    {
        Guest[] guests;
        try
        {
            guests = await Task.WhenAll(StartAsync("writer"), StartAsync("watcher"));
        }
        catch (GuestUnavailableException e)
        {
            // Not thrown here, where it would fail the test: the test says it, and is skipped.
            _unavailable = e;
            return;
        }

        (_writer, _watcher) = (guests[0], guests[1]);
        await _watcher.CheckAsync("sh", "-c", "mkdir /www; cat >/watch <<'END'\nwhile :; do\n  if ping -c 1 -W 1 writer.test >/dev/null 2>&1; then echo alive; else echo lost; fi >/state\n  sleep 0.1\ndone\nEND");
        await _watcher.CheckAsync("sh", "-c", "sh /watch >/dev/null 2>&1 </dev/null &");
    }

    async Task IAsyncLifetime.DisposeAsync()
    {
        if (_writer is not null)
            await _writer.DisposeAsync();
        if (_watcher is not null)
            await _watcher.DisposeAsync();
        _network.Dispose();
    }

    private Task<Guest> StartAsync(string name) => Guest.StartAsync(new GuestOptions { Name = name, Network = _network });

    private Task<string> WatcherSaysAsync(string state) =>
        _unavailable is not null ? throw _unavailable
            : _watcher.CheckAsync("timeout", "60", "sh", "-c", $"until [ \"$(cat /state 2>/dev/null)\" = {state} ]; do sleep 0.05; done");
}
