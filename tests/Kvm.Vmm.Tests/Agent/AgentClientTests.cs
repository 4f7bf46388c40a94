using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Agent;

namespace Kvm.Vmm.Tests.Agent;

/// <summary>The host's side of the protocol, against guests that lie, stop in the middle or send what is none of it.</summary>
public sealed class AgentClientTests : IDisposable
{
    private static readonly byte[] s_ok = Encoding.ASCII.GetBytes("OK 1073741824\n");

    private readonly FakeAgent _agent = new();

    public void Dispose() => _agent.Dispose();

    public static TheoryData<string, byte[]> Lies() => new()
    {
        { "no greeting of Firecracker's", "HTTP/1.1 400\n"u8.ToArray() },
        { "a line without an end", Enumerable.Repeat((byte)'O', 100).ToArray() },
        { "no magic", [.. s_ok, .. FakeAgent.Frame(AgentFrame.Hello, [1, 2, 3, 4, 1, 0, 1, 0])] },
        { "a short greeting", [.. s_ok, .. FakeAgent.Frame(AgentFrame.Hello, "KVMA"u8.ToArray())] },
        { "a later version", [.. s_ok, .. FakeAgent.Frame(AgentFrame.Hello, [.. "KVMA"u8, 2, 0, 2, 0])] },
        { "another frame first", [.. s_ok, .. FakeAgent.Started()] },
        { "a frame of 4 GiB", [.. s_ok, 255, 255, 255, 255, 1, 0, 0, 0] },
        { "a frame of a byte too many", [.. s_ok, 249, 255, 0, 0, 1, 0, 0, 0] },
        { "a header that is not zero at its end", [.. s_ok, 8, 0, 0, 0, 1, 0, 0, 1] },
        { "a start without numbers", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Started)] },
        { "a start with a room of 4 GiB", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(uint.MaxValue)] },
        { "a failure without a number", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Failed, 1)] },
        { "output before a start", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Output, 1)] },
        { "an end without a number", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(), .. FakeAgent.Frame(AgentFrame.Exited)] },
        { "a frame of a copy", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(), .. FakeAgent.Frame(AgentFrame.Data, 1)] },
        { "a frame that does not exist", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(), .. FakeAgent.Frame((AgentFrame)99)] },
        { "room for a stream that is not written", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(), .. FakeAgent.Frame(AgentFrame.Credit, AgentProtocol.OfPair(1, 1))] },
        { "more output than there is room for", [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(), .. Enumerable.Repeat(FakeAgent.Frame(AgentFrame.Errors, new byte[65528]), 5).SelectMany(f => f)] },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task What_no_agent_says_is_a_typed_error(string what, byte[] answer)
    {
        _ = _agent.ServeAsync(answer, FakeAgent.UntilHungUpAsync);

        var start = async () =>
        {
            await using var process = await AgentProcess.StartAsync(_agent.Path, TimeSpan.Zero, new AgentCommand("true"), default);
            // Its streams are not read: what is too much must be found without that.
            await process.Ended;
        };

        (await start.Should().ThrowAsync<AgentException>(what)).Which.Error.Should().Be(AgentErrors.BadProtocol, what);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(12)]
    public async Task A_guest_that_goes_in_the_middle_of_a_frame_ends_the_program_the_streams_and_the_input(int bytes)
    {
        byte[] half = FakeAgent.Frame(AgentFrame.Output, new byte[100])[..bytes];
        _ = _agent.ServeAsync([.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started(10), .. FakeAgent.Frame(AgentFrame.Output, 42), .. half]);
        await using var process = await AgentProcess.StartAsync(_agent.Path, TimeSpan.Zero, new AgentCommand("cat") { HasInput = true }, default);

        (await process.Awaiting(p => p.Ended).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.Lost);

        byte[] buffer = new byte[10];
        (await process.Output.ReadAsync(buffer)).Should().Be(1, "what came before is read");
        (await process.Awaiting(p => p.Output.ReadAsync(buffer).AsTask()).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.Lost);
        await process.Input.WriteAsync(new byte[100]);
        await process.Input.DisposeAsync();
    }

    [Fact]
    public async Task A_guest_that_hangs_up_before_it_says_anything_is_asked_again_until_the_patience_is_over()
    {
        var both = Task.Run(async () =>
        {
            await _agent.ServeAsync([]);
            await _agent.ServeAsync([.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Ping)]);
        });

        await using (await AgentClient.ConnectAsync(_agent.Path, TimeSpan.FromMinutes(1)))
            await both;

        _ = _agent.ServeAsync([]);
        var never = () => AgentClient.ConnectAsync(_agent.Path, TimeSpan.Zero);
        (await never.Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.NoAgent);
    }

    [Fact]
    public async Task A_socket_that_is_not_there_is_no_agent()
    {
        var connect = () => AgentClient.ConnectAsync(_agent.Path + "x", TimeSpan.Zero);

        (await connect.Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.NoAgent);
    }

    [Fact]
    public async Task An_agent_that_never_answers_is_given_up_when_that_is_asked_for()
    {
        using var cancel = new CancellationTokenSource();
        _ = _agent.ServeAsync([], client =>
        {
            cancel.Cancel();
            return FakeAgent.UntilHungUpAsync(client);
        });

        var connect = () => AgentClient.ConnectAsync(_agent.Path, TimeSpan.FromMinutes(5), cancel.Token);

        await connect.Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task A_program_that_cannot_be_started_says_why_with_its_letters_shown()
    {
        byte[] failure = [.. AgentProtocol.OfPair(2, 3), .. "no\n\u001b[31msuch"u8];
        _ = _agent.ServeAsync([.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Failed, failure)]);

        var start = () => AgentProcess.StartAsync(_agent.Path, TimeSpan.Zero, new AgentCommand("x"), default);

        var error = (await start.Should().ThrowAsync<AgentException>()).Which;
        error.Error.Should().Be(AgentErrors.NoProgram);
        error.GuestErrno.Should().Be(2);
        error.Message.Should().NotContain("\u001b").And.NotContain("\n");
    }

    [Fact]
    public void A_command_that_no_frame_could_hold_is_refused_before_it_is_sent()
    {
        AgentCommand[] commands = [new(), new(""), new("a\0b"), new("echo", new string('x', 70_000)), new("a") { Folder = "\0" }, new([.. Enumerable.Repeat("x", 5000)])];

        commands.Should().AllSatisfy(command => command.Invoking(c => AgentProtocol.Exec(c, 1)).Should().Throw<ArgumentException>());
    }

    [Fact]
    public void Any_bytes_from_a_guest_end_a_program_with_a_typed_error_or_its_exit_code()
    {
        byte[] begin = [.. s_ok, .. FakeAgent.Hello, .. FakeAgent.Started()];
        var frames = Gen.OneOf(
            ArbMap.Default.GeneratorFor<byte[]>(),
            from kind in Gen.Choose(0, 70)
            from payload in ArbMap.Default.GeneratorFor<byte[]>()
            select FakeAgent.Frame((AgentFrame)kind, payload),
            from code in Gen.Choose(0, 300)
            select FakeAgent.Frame(AgentFrame.Exited, AgentProtocol.OfPair((uint)code, 0)));
        var answers = from list in frames.ListOf() from cut in Gen.Choose(0, begin.Length * 4) select (byte[])[.. begin.Take(cut), .. list.SelectMany(f => f)];
        Prop.ForAll(answers.ToArbitrary(), answer =>
        {
            _ = _agent.ServeAsync(answer);
            try
            {
                RunAsync().GetAwaiter().GetResult();
            }
            catch (AgentException)
            {
            }
        }).QuickCheckThrowOnFailure();

        async Task RunAsync()
        {
            await using var process = await AgentProcess.StartAsync(_agent.Path, TimeSpan.Zero, new AgentCommand("true"), default);
            await Task.WhenAll(process.Output.CopyToAsync(Stream.Null), process.Errors.CopyToAsync(Stream.Null));
            await process.Ended;
        }
    }
}
