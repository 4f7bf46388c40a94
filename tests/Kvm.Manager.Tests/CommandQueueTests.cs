using System.Collections.Concurrent;
using System.Text;
using Kvm.Cli.Tests;
using Kvm.Manager.Commands;
using Kvm.Vmm;

namespace Kvm.Manager.Tests;

public sealed class CommandQueueTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryState _state = new();
    private readonly ConcurrentQueue<string> _done = new();
    private readonly ManualResetEventSlim _held = new(initialState: true);
    private readonly CountdownEvent _began = new(1);

    public void Dispose()
    {
        _held.Dispose();
        _began.Dispose();
        _state.Dispose();
    }

    private string Journal => Path.Combine(_state.Options.StateFolder, "commands", "journal");

    [Fact]
    public void What_was_taken_is_there_for_every_other_process_with_ids_in_order()
    {
        var queue = Queue();
        var first = queue.Enqueue("web", "note", """{ "text" : "a\n" }"""u8.ToArray());
        var second = Queue().Enqueue("db", "note");
        second.Number.Should().Be(first.Number + 1);
        Queue().Get(first).Should().Match<Command>(command => command.State == CommandState.Waiting && command.Vm == "web" && command.Verb == "note" && command.Arguments == """{"text":"a\n"}""");
        queue.List().Select(command => command.Id).Should().Equal(first, second);
        queue.List("db").Single().Id.Should().Be(second);
        queue.Get(new CommandId(99)).Should().BeNull();
        CommandId.TryParse(first.ToString(), out var parsed).Should().BeTrue();
        parsed.Should().Be(first);
        foreach (string bad in (string[])["", "c", "c0", "c-1", "12", "c1x", "c99999999999999999999"])
            CommandId.TryParse(bad, out _).Should().BeFalse(bad);
    }

    [Fact]
    public void A_key_is_one_command_however_often_it_is_asked_for()
    {
        var queue = Queue();
        var id = queue.Enqueue("web", "note", key: "a");
        Queue().Enqueue("web", "note", key: "a").Should().Be(id);
        queue.Enqueue("db", "note", key: "a").Should().NotBe(id, "another machine's");
        queue.Enqueue("web", "note").Should().NotBe(id);
        Refused(() => queue.Enqueue("web", "hold", key: "a"), "KVM0615", id.ToString());
        Refused(() => queue.Enqueue("web", "note", key: new string('k', 129)), "KVM0615", "128");
    }

    [Theory]
    [InlineData("sart", "{}", "did you mean start")]
    [InlineData("stop", """{"timeoutms":1}""", "did you mean timeoutMs")]
    [InlineData("stop", "[]", "no object")]
    [InlineData("stop", "{", "no JSON")]
    public void What_is_no_command_is_refused_with_what_was_meant(string verb, string arguments, string part) =>
        Refused(() => new CommandQueue(_state.Options).Enqueue("web", verb, Encoding.UTF8.GetBytes(arguments)), "KVM0615", part);

    [Fact]
    public void Arguments_are_bounded_and_so_is_how_many_wait()
    {
        var queue = Queue();
        Refused(() => queue.Enqueue("web", "note", Encoding.UTF8.GetBytes($$"""{"text":"{{new string('x', 65536)}}"}""")), "KVM0615", "more than");
        Refused(() => queue.Enqueue("web", "note", Encoding.UTF8.GetBytes($$"""{"text":{{new string('[', 10_000)}}{{new string(']', 10_000)}}}""")), "KVM0615", "no JSON");
        Refused(() => queue.Enqueue("../web", "note"), "KVM0602", "begins with");
        for (int i = 0; i < CommandQueue.MostOfOne; i++)
            queue.Enqueue("web", "note");
        Refused(() => queue.Enqueue("web", "note"), "KVM0616", "64 commands of web");
        queue.Enqueue("db", "note");
    }

    [Fact]
    public void Commands_of_one_machine_are_done_in_order_and_of_others_meanwhile()
    {
        var queue = Queue();
        _held.Reset();
        using var runner = CommandRunner.Start(queue);
        var held = queue.Enqueue("web", "hold");
        var after = queue.Enqueue("web", "note", """{"text":"after"}"""u8.ToArray());
        var other = queue.Enqueue("db", "note", """{"text":"other"}"""u8.ToArray());
        queue.Wait(other, s_long).State.Should().Be(CommandState.Done);
        _began.Wait(s_long).Should().BeTrue();
        queue.Get(held)!.State.Should().Be(CommandState.Running);
        queue.Get(after)!.State.Should().Be(CommandState.Waiting);
        _held.Set();
        queue.Wait(after, s_long).Should().Match<Command>(command => command.State == CommandState.Done && command.Result == "\"after\"" && command.Begun != null && command.Ended >= command.Begun);
        _done.Should().Equal("db other", "web held", "web after");
    }

    [Fact]
    public void One_that_waits_is_taken_back_unbegun_and_one_that_runs_is_asked_to_end()
    {
        var queue = Queue();
        _held.Reset();
        using var runner = CommandRunner.Start(queue);
        var running = queue.Enqueue("web", "hold");
        var waiting = queue.Enqueue("web", "note");
        _began.Wait(s_long).Should().BeTrue();
        Queue().Cancel(waiting)!.State.Should().Be(CommandState.Cancelled);
        Queue().Cancel(running)!.Should().Match<Command>(command => command.State == CommandState.Running && command.CancelAsked);
        queue.Wait(running, s_long).State.Should().Be(CommandState.Cancelled);
        queue.Cancel(running)!.State.Should().Be(CommandState.Cancelled, "it has ended");
        queue.Cancel(new CommandId(99)).Should().BeNull();
        _done.Should().BeEmpty();
    }

    [Fact]
    public void Of_one_whose_process_is_gone_it_is_told_and_those_behind_it_are_done_once()
    {
        var queue = Queue();
        var lost = queue.Enqueue("web", "note", """{"text":"lost"}"""u8.ToArray());
        var next = queue.Enqueue("web", "note", """{"text":"next"}"""u8.ToArray());
        using (queue.TryLockRunner("web"))
        {
            queue.Begin("web")!.Id.Should().Be(lost);
            queue.Get(lost)!.State.Should().Be(CommandState.Running, "who does it has the lock");
        }

        // A lock ends with its process: so whoever looks finds this out, and whoever goes on does not begin it again.
        Queue().Wait(lost, s_long).Should().Match<Command>(command => command.State == CommandState.Interrupted && command.Error!.Contains("before it was done"));
        for (int i = 0; i < 2; i++)
        {
            using var runner = CommandRunner.Start(Queue());
            queue.Wait(next, s_long).State.Should().Be(CommandState.Done);
        }

        _done.Should().Equal("web next");
        queue.Get(lost)!.State.Should().Be(CommandState.Interrupted);
    }

    [Fact]
    public void A_runner_that_ends_says_so_of_what_it_had_begun()
    {
        var queue = Queue();
        _held.Reset();
        CommandId id;
        using (CommandRunner.Start(queue))
        {
            id = queue.Enqueue("web", "hold");
            _began.Wait(s_long).Should().BeTrue();
        }

        queue.Get(id)!.State.Should().Be(CommandState.Interrupted);
    }

    [Fact]
    public void Two_runners_at_once_do_nothing_twice()
    {
        var queue = Queue();
        using var one = CommandRunner.Start(Queue());
        using var two = CommandRunner.Start(Queue());
        List<CommandId> ids = [];
        for (int i = 0; i < 60; i++)
            ids.Add(queue.Enqueue($"vm{i % 3}", "note", Encoding.UTF8.GetBytes($$"""{"text":"{{i}}"}""")));
        foreach (var id in ids)
            queue.Wait(id, s_long).State.Should().Be(CommandState.Done);
        _done.Should().HaveCount(60).And.OnlyHaveUniqueItems();
        for (int vm = 0; vm < 3; vm++)
            _done.Where(done => done.StartsWith($"vm{vm} ", StringComparison.Ordinal)).Should().Equal(Enumerable.Range(0, 20).Select(i => $"vm{vm} {(i * 3) + vm}"));
    }

    [Fact]
    public void What_a_killed_process_left_of_a_line_is_no_command_and_a_damaged_line_hides_no_other()
    {
        var queue = Queue();
        var first = queue.Enqueue("web", "note");
        var second = queue.Enqueue("web", "note");
        var third = queue.Enqueue("web", "note");
        byte[] bytes = File.ReadAllBytes(Journal);
        for (int cut = 1; cut < 60; cut += 7)
        {
            File.WriteAllBytes(Journal, bytes[..^cut]);
            var after = Queue();
            after.List().Select(command => command.Id).Should().Equal(first, second);
            after.Enqueue("web", "note").Number.Should().Be(third.Number, "what was not taken has no id");
            Queue().List().Should().HaveCount(3);
        }

        int line = Array.IndexOf(bytes, (byte)'\n') + 20;
        bytes[line] ^= 1;
        File.WriteAllBytes(Journal, bytes);
        Queue().List().Select(command => command.Id).Should().Equal(second, third);
    }

    [Theory]
    [InlineData("00000000 {}\n")]
    [InlineData("nothing of ours")]
    public void A_file_that_is_none_of_ours_is_told_and_left_alone(string content)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Journal)!);
        File.WriteAllText(Journal, content);
        Refused(() => Queue().List(), "KVM0604", "journal");
        File.ReadAllText(Journal).Should().Be(content);
    }

    [Fact]
    public void The_file_stays_small_and_what_waits_survives_that()
    {
        var queue = Queue();
        var waits = queue.Enqueue("waits", "note");
        byte[] large = Encoding.UTF8.GetBytes($$"""{"text":"{{new string('x', 60_000)}}"}""");
        CommandId last = default;
        var reader = Queue();
        for (int i = 0; i < 60; i++)
        {
            last = queue.Enqueue("web", "note", large);
            using (queue.TryLockRunner("web"))
            {
                queue.Begin("web");
                queue.End(last, how => how with { State = CommandState.Done });
            }

            reader.Get(last)!.State.Should().Be(CommandState.Done, "it follows the file that is written anew");
        }

        new FileInfo(Journal).Length.Should().BeLessThan(4 << 20);
        Queue().Get(waits)!.State.Should().Be(CommandState.Waiting);
        Queue().Get(last)!.State.Should().Be(CommandState.Done);
        Queue().List().Count.Should().BeLessThan(61);
        Queue().Enqueue("web", "note").Number.Should().Be(last.Number + 1);
    }

    [SkippableFact]
    public void A_machines_whole_life_can_be_asked_for_at_once()
    {
        Published.Require();
        var queue = new CommandQueue(_state.Options);
        string config = VmRecord.ConfigOf(TemporaryState.Machine("web", Guests.Loop));
        var ids = new[]
        {
            queue.Enqueue("web", "create", Encoding.UTF8.GetBytes($$"""{"config":{{config}},"restart":"no"}""")),
            queue.Enqueue("web", "start"),
            queue.Enqueue("web", "start"),
            queue.Enqueue("web", "pause"),
            queue.Enqueue("web", "resume"),
            queue.Enqueue("web", "stop", """{"timeoutMs":0}"""u8.ToArray()),
            queue.Enqueue("web", "remove"),
        };
        using var runner = CommandRunner.Start(queue);
        var ends = ids.Select(id => queue.Wait(id, s_long)).ToList();
        ends.Select(end => end.State).Should().Equal(CommandState.Done, CommandState.Done, CommandState.Failed, CommandState.Done, CommandState.Done, CommandState.Done, CommandState.Done);
        ends[1].Result.Should().Be("""{"state":"running","generation":1,"how":null}""");
        ends[2].Should().Match<Command>(end => end.ErrorId == "KVM0601" && end.Error!.Contains("web is running"));
        ends[5].Result.Should().Contain("stop-timeout");
        _state.Manager.List().Should().BeEmpty();
    }

    private CommandQueue Queue() => new(_state.Options, CommandVerbs.Standard
        .With("note", ["text"], (_, vm, arguments, _) =>
        {
            string text = arguments.TryGetProperty("text", out var given) ? given.GetString()! : "";
            _done.Enqueue($"{vm} {text}");
            return text.Length < 100 ? $"\"{text}\"" : null;
        })
        .With("hold", [], (_, vm, _, cancel) =>
        {
            _began.Signal();
            _held.Wait(cancel);
            _done.Enqueue($"{vm} held");
            return null;
        }));

    private static void Refused(Action action, string id, string part)
    {
        var error = FluentActions.Invoking(action).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id);
        error.Message.Should().Contain(part);
    }
}
