using System.Net.Sockets;
using System.Text;

namespace Kvm.Web.Tests;

/// <summary>Events are kept for who comes late, and never wait for who is slow.</summary>
public class EventFeedTests
{
    [Fact]
    public void A_late_reader_begins_with_how_things_are_and_with_the_story()
    {
        var feed = new EventFeed();
        feed.Publish("a", "1"u8);
        feed.PublishLast("state", "1"u8);
        feed.PublishLast("state", "2"u8);
        feed.Publish("a", "2"u8);
        using var reader = feed.TryOpen()!;
        Texts(reader.Kept).Should().Equal("event: state\ndata: 2\n\n", "event: a\ndata: 1\n\n", "event: a\ndata: 2\n\n");
        reader.Waiting.TryRead(out _).Should().BeFalse();
        feed.Publish("a", "3"u8);
        reader.Waiting.TryRead(out var next).Should().BeTrue();
        Encoding.UTF8.GetString(next!).Should().Be("event: a\ndata: 3\n\n");
    }

    [Fact]
    public void The_past_is_bounded_and_what_is_forgotten_counted()
    {
        var feed = new EventFeed(mostHistory: 1000);
        for (int i = 0; i < 100; i++)
            feed.Publish("a", new byte[100]);
        using var reader = feed.TryOpen()!;
        reader.Kept.Sum(frame => frame.Length).Should().BeLessThanOrEqualTo(1000);
        (feed.Forgotten + reader.Kept.Count).Should().Be(100);
    }

    [Fact]
    public void Who_does_not_read_loses_events_and_is_told_how_many()
    {
        var feed = new EventFeed();
        using var slow = feed.TryOpen()!;
        for (int i = 0; i < EventFeed.MostWaiting + 7; i++)
            feed.Publish("a", "1"u8);
        slow.Dropped.Should().Be(7);
        using var other = feed.TryOpen()!;
        other.Dropped.Should().Be(0);
    }

    [Fact]
    public void Readers_are_bounded_and_make_room_when_they_go()
    {
        var feed = new EventFeed();
        feed.FirstReader.IsCompleted.Should().BeFalse();
        var readers = Enumerable.Range(0, 8).Select(_ => feed.TryOpen()!).ToList();
        feed.FirstReader.IsCompleted.Should().BeTrue();
        feed.TryOpen().Should().BeNull();
        readers[3].Dispose();
        feed.Readers.Should().Be(7);
        feed.TryOpen().Should().NotBeNull();
        feed.End();
        feed.TryOpen().Should().BeNull("nothing will come");
    }

    [Fact]
    public async Task A_client_that_takes_nothing_holds_nobody_up_and_others_hear_everything()
    {
        var feed = new EventFeed(mostHistory: 1 << 10);
        using var site = LoopbackSite.Open("trace", 0, feed, (_, _, _) => Task.FromResult(new PageAnswer([])));
        using var stuck = await Listen(site, 4 << 10);
        using var good = await Listen(site, 64 << 10);
        while (feed.Readers < 2)
            await Task.Yield();
        var payload = Encoding.ASCII.GetBytes($"\"{new string('x', 1000)}\"");
        var text = new StringBuilder();
        var buffer = new byte[1 << 16];
        // Each event is heard before the next is told: only the one that never reads falls behind.
        for (int i = 0; i < 6000; i++)
        {
            feed.Publish("n" + (char)('a' + (i % 26)), payload);
            string wanted = $"event: n{(char)('a' + (i % 26))}\n";
            while (!text.ToString().Contains(wanted, StringComparison.Ordinal))
            {
                using var patience = new CancellationTokenSource(Raw.Patience);
                int count = await good.ReceiveAsync(buffer, patience.Token);
                count.Should().BePositive();
                text.Append(Encoding.ASCII.GetString(buffer, 0, count));
            }

            text.Clear();
        }
    }

    [Fact]
    public async Task Dropped_events_are_told_once_the_reader_is_back()
    {
        var feed = new EventFeed(mostHistory: 1 << 10);
        using var site = LoopbackSite.Open("trace", 0, feed, (_, _, _) => Task.FromResult(new PageAnswer([])));
        using var client = await Listen(site, 4 << 10);
        await feed.FirstReader;
        var payload = Encoding.ASCII.GetBytes($"\"{new string('x', 60_000)}\"");
        for (int i = 0; i < 2000; i++)
            feed.Publish("a", payload);
        feed.Publish("last", "1"u8);
        var text = new StringBuilder();
        var buffer = new byte[1 << 16];
        while (!text.ToString().Contains("event: dropped", StringComparison.Ordinal))
        {
            using var patience = new CancellationTokenSource(Raw.Patience);
            int count = await client.ReceiveAsync(buffer, patience.Token);
            count.Should().BePositive();
            text.Append(Encoding.ASCII.GetString(buffer, 0, count));
            text.Remove(0, Math.Max(0, text.Length - (1 << 17)));
        }
    }

    private static async Task<Socket> Listen(LoopbackSite site, int window)
    {
        var address = new Uri(site.Address);
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = window };
        await socket.ConnectAsync(address.Host, address.Port);
        string token = address.AbsolutePath.Trim('/');
        await socket.SendAsync(Encoding.ASCII.GetBytes($"GET /{token}/api/events HTTP/1.1\r\nHost: {address.Authority}\r\nX-Kvmsharp-Token: {token}\r\n\r\n"));
        return socket;
    }

    private static IEnumerable<string> Texts(IEnumerable<byte[]> frames) => frames.Select(Encoding.UTF8.GetString);
}
