using System.Net;
using System.Text;

namespace Kvm.Api.Tests.Rest;

/// <summary>Events as a stream.</summary>
public sealed class EventStreamTests : IDisposable
{
    private readonly ManagerFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task A_reader_is_told_what_happens_from_now_on_and_of_one_machine_where_it_asks_for_that()
    {
        using var client = _fixture.Serve();
        Tell("web", "before");
        using var all = new EventReader(await client.GetStreamAsync("/events"));
        using var one = new EventReader(await client.GetStreamAsync("/events?vm=web"));
        Tell("db", "created");
        Tell("web", "created");
        (await all.Next()).Data.Should().Contain("\"vm\":\"db\"").And.Contain("\"event\":\"created\"");
        (await all.Next()).Data.Should().Contain("\"vm\":\"web\"");
        (await one.Next()).Data.Should().Contain("\"vm\":\"web\"").And.Contain("\"event\":\"created\"");
    }

    [Fact]
    public async Task A_reader_that_comes_again_goes_on_behind_the_last_event_it_knows_under_another_manager_too()
    {
        Tell("web", "one");
        Tell("web", "two");
        Tell("web", "three");
        string last;
        using (_fixture.Open())
        {
            using var client = new HttpClient(new SocketsHttpHandler { ConnectCallback = async (_, cancel) => new System.Net.Sockets.NetworkStream(await _fixture.Connect(cancel), ownsSocket: true) });
            using var events = new EventReader(await client.GetStreamAsync("http://localhost/events?past"));
            await events.Until("one");
            await events.Until("two");
            last = events.LastId!;
        }

        using var again = _fixture.Serve();
        using var more = await Open(again, last);
        (await more.Next()).Data.Should().Contain("three");
        Tell("web", "four");
        (await more.Next()).Data.Should().Contain("four");
    }

    [Fact]
    public async Task A_reader_whose_place_is_forgotten_is_told_that_events_are_lost()
    {
        Tell("web", "kept");
        using var client = _fixture.Serve();
        using var events = await Open(client, "123-45");
        (await events.Next()).Kind.Should().Be("lost");
        (await events.Next()).Data.Should().Contain("kept");
        (await client.GetStringAsync("/metrics")).Should().Contain("kvmsharp_event_gaps_total 1\n");
    }

    [Fact]
    public async Task An_id_that_is_none_is_refused()
    {
        using var client = _fixture.Serve();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/events") { Headers = { { "Last-Event-ID", "x" } } };
        (await client.SendAsync(request)).StatusCode.Should().Be(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task A_reader_that_does_not_read_holds_nobody_up()
    {
        using var client = _fixture.Serve();
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        using var slow = await _fixture.Connect(patience.Token);
        await slow.SendAsync(Encoding.ASCII.GetBytes("GET /events HTTP/1.1\r\nHost: x\r\n\r\n"), patience.Token);
        using var quick = new EventReader(await client.GetStreamAsync("/events"));
        string detail = new('x', 4000);
        for (int i = 0; i < 300; i++)
            _fixture.Manager.Events.Tell("web", $"e{i}", detail);
        await quick.Until("e299");
        (await client.GetAsync("/version")).StatusCode.Should().Be(HttpStatusCode.OK);
    }

    [Fact]
    public async Task Streams_are_bounded_and_a_place_is_free_again_when_a_client_has_gone()
    {
        using var client = _fixture.Serve();
        List<Stream> open = [];
        for (int i = 0; i < 32; i++)
            open.Add(await client.GetStreamAsync("/events"));
        using (var refused = await client.GetAsync("/events", HttpCompletionOption.ResponseHeadersRead))
        {
            refused.StatusCode.Should().Be(HttpStatusCode.ServiceUnavailable);
            (await refused.Content.ReadAsStringAsync()).Should().Contain("KVM0704");
        }

        open.ForEach(stream => stream.Dispose());
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        HttpStatusCode status;
        do
        {
            // It is free when the server has noticed.
            using var answer = await client.GetAsync("/events", HttpCompletionOption.ResponseHeadersRead, patience.Token);
            status = answer.StatusCode;
        }
        while (status != HttpStatusCode.OK);
    }

    private void Tell(string vm, string what) => _fixture.Manager.Events.Tell(vm, what);

    private static async Task<EventReader> Open(HttpClient client, string last)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/events") { Headers = { { "Last-Event-ID", last } } };
        var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        answer.StatusCode.Should().Be(HttpStatusCode.OK);
        return new EventReader(await answer.Content.ReadAsStreamAsync());
    }
}
