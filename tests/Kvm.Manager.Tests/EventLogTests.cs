using System.Text.Json;

namespace Kvm.Manager.Tests;

public sealed class EventLogTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-events-").FullName;

    private EventLog Log => new(_folder, TimeProvider.System);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void What_many_tell_at_once_is_all_there_in_whole_lines()
    {
        Parallel.For(0, 8, teller =>
        {
            for (int i = 0; i < 50; i++)
                Log.Tell($"vm{teller}", "running", $"{i}");
        });
        var told = Log.Read(follow: false).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        told.Should().HaveCount(400);
        told.Where(line => line.GetProperty("vm").GetString() == "vm3").Select(line => line.GetProperty("detail").GetString()).Should().Equal(Enumerable.Range(0, 50).Select(i => $"{i}"));
    }

    [Fact]
    public async Task Who_follows_is_told_what_happens_from_then_on()
    {
        Log.Tell("old", "created");
        using var cancel = new CancellationTokenSource();
        using var follower = Log.Read(follow: true, cancel.Token).GetEnumerator();
        // The follower stands at the end once it is asked for its first line: it is told when it waits for one.
        var next = Task.Run(follower.MoveNext);
        for (int i = 0; !next.IsCompleted; i++)
            Log.Tell("web", "running", $"{i}");
        (await next).Should().BeTrue();
        follower.Current.Should().Contain("web").And.NotContain("old");
        await cancel.CancelAsync();
        while (follower.MoveNext())
            follower.Current.Should().Contain("web");
    }

    [Fact]
    public void The_log_has_an_end_and_begins_anew_behind_it()
    {
        string much = new('x', 100_000);
        for (int i = 0; i < 100; i++)
            Log.Tell("web", "running", much);
        Directory.GetFiles(Path.Combine(_folder, "events")).Sum(file => new FileInfo(file).Length).Should().BeInRange(4 << 20, 8 << 20);
        var told = Log.Read(follow: false).ToList();
        told.Should().OnlyContain(line => line.EndsWith("x\"}", StringComparison.Ordinal));
        told.Count.Should().BeInRange(40, 84);
    }

    [Fact]
    public void A_log_that_cannot_be_made_fails_nobody()
    {
        File.WriteAllText(Path.Combine(_folder, "events"), "in the way");
        Log.Tell("web", "running");
        File.ReadAllText(Path.Combine(_folder, "events")).Should().Be("in the way");
    }
}
