namespace Kvm.Manager.Tests;

public sealed class EventCursorTests : IDisposable
{
    private readonly TemporaryState _state = new();
    private readonly EventLog _log;

    public EventCursorTests() => _log = new EventLog(_state.Options.StateFolder, TimeProvider.System);

    public void Dispose() => _state.Dispose();

    [Fact]
    public void A_new_reader_is_told_what_happens_after_its_first_look_only()
    {
        _log.Tell("web", "old");
        var cursor = new EventCursor(_log.Path, null);
        Events(cursor).Should().BeEmpty();
        _log.Tell("web", "new");
        Events(cursor).Should().Equal("new");
    }

    [Fact]
    public void A_reader_that_looks_before_there_is_a_log_misses_nothing_of_it()
    {
        var cursor = new EventCursor(_log.Path, null);
        Events(cursor).Should().BeEmpty();
        _log.Tell("web", "first");
        Events(cursor).Should().Equal("first");
        cursor.Gaps.Should().Be(0);
    }

    [Fact]
    public void A_place_is_understood_as_it_was_written_and_nothing_else_is()
    {
        var place = new EventPlace(0x1234_5678_9abc, 77);
        EventPlace.Parse(place.ToString()).Should().Be(place);
        foreach (string? text in (string?[])[null, "", "-", "1-", "-1", "1--1", "x-1", "1-2-3", "1- 2"])
            EventPlace.Parse(text).Should().BeNull(text);
    }

    [Fact]
    public void A_later_reader_goes_on_where_another_was()
    {
        foreach (string what in (string[])["one", "two", "three"])
            _log.Tell("web", what);
        var lines = EventCursor.FromStart(_log.Path).Read();
        Events(new EventCursor(_log.Path, lines[0].Next)).Should().Equal("two", "three");
        Events(new EventCursor(_log.Path, lines[2].Next)).Should().BeEmpty();
    }

    [Fact]
    public void Nothing_is_lost_or_told_twice_when_the_log_becomes_an_old_one()
    {
        string detail = new('x', 60_000);
        var cursor = EventCursor.FromStart(_log.Path);
        List<string> seen = [];
        for (int i = 0; i < 120; i++)
        {
            _log.Tell("web", $"e{i}", detail);
            if (i % 7 == 0)
                seen.AddRange(Events(cursor));
        }

        seen.AddRange(Events(cursor));
        File.Exists(_log.Path + ".old").Should().BeTrue("it has grown");
        seen.Should().Equal(Enumerable.Range(0, 120).Select(i => $"e{i}"));
        cursor.Gaps.Should().Be(0);
    }

    [Fact]
    public void Who_is_slower_than_the_log_forgets_is_told_and_goes_on_with_the_oldest_that_is_kept()
    {
        string detail = new('x', 60_000);
        _log.Tell("web", "first");
        var cursor = EventCursor.FromStart(_log.Path);
        Events(cursor).Should().Equal("first");
        for (int i = 0; i < 200; i++)
            _log.Tell("web", $"e{i}", detail);
        var seen = Events(cursor);
        cursor.Gaps.Should().Be(1);
        seen[^1].Should().Be("e199");
        seen.Should().Equal(Enumerable.Range(200 - seen.Count, seen.Count).Select(i => $"e{i}"));
    }

    [Fact]
    public void A_place_behind_the_end_of_a_log_that_was_cut_is_a_gap_and_not_a_reader_that_waits_for_ever()
    {
        _log.Tell("web", "one");
        var place = EventCursor.FromStart(_log.Path).Read()[0].Next;
        var cursor = new EventCursor(_log.Path, place with { Offset = 1 << 20 });
        Events(cursor).Should().Equal("one");
        cursor.Gaps.Should().Be(1);
    }

    private static List<string> Events(EventCursor cursor)
    {
        List<string> events = [];
        while (cursor.Read() is { Count: > 0 } lines)
            events.AddRange(lines.Select(line => System.Text.Json.JsonDocument.Parse(line.Line).RootElement.GetProperty("event").GetString()!));
        return events;
    }
}
