using System.Text;
using Kvm.Vmm.Agent;

namespace Kvm.Boot.Tests.Agent;

/// <summary>Programs run in a guest by its agent, over Linux's own sockets. One guest for all of them.</summary>
public sealed class AgentExecTests(AgentGuest guest) : IClassFixture<AgentGuest>
{
    private const int NoSuchFile = 2;

    [SkippableFact]
    public async Task A_program_gives_its_output_its_errors_and_its_exit_code()
    {
        var client = await guest.ClientAsync();

        var result = await client.ExecAsync("sh", "-c", "echo out; echo err >&2; exit 3");

        result.Output.Should().Be("out\n");
        result.Errors.Should().Be("err\n");
        result.Exit.Should().Be(new AgentExit(3, 0));
        result.IsTruncated.Should().BeFalse();
    }

    [SkippableFact]
    public async Task A_ping_is_answered()
    {
        var client = await guest.ClientAsync();

        (await client.PingAsync()).Should().BePositive();
    }

    [SkippableFact]
    public async Task Environment_folder_and_odd_words_arrive_as_they_were_given()
    {
        var client = await guest.ClientAsync();
        var command = new AgentCommand("sh", "-c", "pwd; echo \"$A|$PATH\"; printf '%s\\n' \"$@\"", "sh", "", "a b", "\n'\"", "ü")
        {
            Folder = "/run",
            Environment = new Dictionary<string, string> { ["A"] = "one = two" },
        };

        var result = await client.ExecAsync(command);

        result.Output.Should().Be("/run\none = two|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\na b\n\n'\"\nü\n");
        var clean = await client.ExecAsync(command with { CleanEnvironment = true, Environment = new Dictionary<string, string> { ["PATH"] = "/bin" } });
        clean.Output.Should().StartWith("/run\n|/bin\n");
    }

    [SkippableFact]
    public async Task What_is_written_to_a_program_is_read_by_it_to_its_end()
    {
        var client = await guest.ClientAsync();
        byte[] bytes = new byte[3 << 20];
        new Random(1).NextBytes(bytes);
        var output = new MemoryStream();

        var exit = await client.RunAsync(new AgentCommand("cat"), new MemoryStream(bytes), output, null);

        exit.ExitCode.Should().Be(0);
        output.ToArray().AsSpan().SequenceEqual(bytes).Should().BeTrue();
    }

    [SkippableFact]
    public async Task A_program_that_is_missing_or_a_folder_that_is_missing_is_a_typed_error()
    {
        var client = await guest.ClientAsync();

        var program = (await client.Awaiting(c => c.ExecAsync("no-such-program")).Should().ThrowAsync<AgentException>()).Which;
        var path = (await client.Awaiting(c => c.ExecAsync("/no/such/program")).Should().ThrowAsync<AgentException>()).Which;
        var folder = (await client.Awaiting(c => c.ExecAsync(new AgentCommand("sh") { Folder = "/no/such" })).Should().ThrowAsync<AgentException>()).Which;
        var forbidden = (await client.Awaiting(c => c.ExecAsync("/run/cat")).Should().ThrowAsync<AgentException>()).Which;

        new[] { program, path, folder, forbidden }.Should().AllSatisfy(e => e.Error.Should().Be(AgentErrors.NoProgram));
        program.GuestErrno.Should().Be(NoSuchFile);
        program.Message.Should().Contain("no-such-program");
        path.GuestErrno.Should().Be(NoSuchFile);
        folder.Message.Should().Contain("/no/such");
        forbidden.GuestErrno.Should().Be(13, "it may not be executed");
    }

    [SkippableFact]
    public async Task A_signal_ends_a_program_and_is_told()
    {
        var client = await guest.ClientAsync();
        await using var process = await client.StartAsync(new AgentCommand("sh", "-c", "echo ready; while :; do sleep 1000; done"));
        byte[] ready = new byte[6];
        await process.Output.ReadExactlyAsync(ready);

        await process.SignalAsync(15);

        var exit = await process.Ended.WaitAsync(TimeSpan.FromMinutes(1));
        exit.Should().Be(new AgentExit(0, 15));
        exit.ExitCode.Should().Be(143);
        Encoding.ASCII.GetString(ready).Should().Be("ready\n");
    }

    [SkippableFact]
    public async Task A_program_with_a_terminal_sees_its_size_and_what_is_typed()
    {
        var client = await guest.ClientAsync();
        await using var process = await client.StartAsync(new AgentCommand("sh", "-c", "stty size; read line; echo \"got $line\"; stty size; tty; echo $TERM") { Terminal = new TerminalSize(33, 99) });
        var reader = new StreamReader(process.Output);
        (await reader.ReadLineAsync()).Should().Be("33 99");
        await process.ResizeAsync(new TerminalSize(44, 111));

        await process.Input.WriteAsync("hello\n"u8.ToArray());

        string rest = await reader.ReadToEndAsync();
        rest.Should().Contain("got hello").And.Contain("44 111").And.Contain("/dev/pts/").And.Contain("xterm");
        (await process.Ended).ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public async Task Ctrl_C_in_a_terminal_interrupts_the_program()
    {
        var client = await guest.ClientAsync();
        await using var process = await client.StartAsync(new AgentCommand("sh", "-c", "echo ready; sleep 1000") { Terminal = new TerminalSize(24, 80) });
        await process.Output.ReadExactlyAsync(new byte[7]);

        await process.Input.WriteAsync(new byte[] { 3 });

        (await process.Ended.WaitAsync(TimeSpan.FromMinutes(1))).Signal.Should().Be(2);
    }

    [SkippableFact]
    public async Task A_stream_that_nobody_reads_does_not_hold_up_the_other()
    {
        var client = await guest.ClientAsync();
        await using var process = await client.StartAsync(new AgentCommand("sh", "-c", "head -c 1000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait"));

        long errors = await CountAsync(process.Errors.ReadAsync, 3_000_000);
        long output = await CountAsync(process.Output.ReadAsync, long.MaxValue);

        errors.Should().Be(3_000_000);
        output.Should().Be(1_000_000);
        (await process.Ended).ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public async Task A_gigabyte_of_output_is_streamed_and_what_is_kept_is_bounded()
    {
        const long Gigabyte = 1 << 30;
        var client = await guest.ClientAsync();
        var count = new CountingStream();

        var exit = await client.RunAsync(new AgentCommand("dd", "if=/dev/zero", "bs=64k", "count=16384"), null, count, null);

        exit.ExitCode.Should().Be(0);
        count.Written.Should().Be(Gigabyte);
        var kept = await client.ExecAsync(new AgentCommand("head", "-c", "1000000", "/dev/zero") { MostCaptured = 1000 });
        kept.OutputBytes.Length.Should().Be(1000);
        kept.IsTruncated.Should().BeTrue();
    }

    [SkippableFact]
    public async Task Hundreds_of_programs_run_at_once_each_with_its_own_output()
    {
        var client = await guest.ClientAsync();

        var results = await Task.WhenAll(Enumerable.Range(0, 300).Select(i => client.ExecAsync("sh", "-c", $"echo {i}; exit {i % 256}")));

        for (int i = 0; i < results.Length; i++)
        {
            results[i].Output.Should().Be($"{i}\n");
            results[i].ExitCode.Should().Be(i % 256);
        }
    }

    [SkippableFact]
    public async Task A_cancelled_program_is_killed_in_the_guest_with_all_it_started()
    {
        var client = await guest.ClientAsync();
        using var cancel = new CancellationTokenSource();
        var output = new CountingStream();
        var run = client.RunAsync(new AgentCommand("sh", "-c", "sleep 4242 & echo ready; wait"), null, output, null, cancel.Token);
        await output.First;

        await cancel.CancelAsync();

        await run.Awaiting(r => r).Should().ThrowAsync<OperationCanceledException>();
        // The agent notices that the connection has ended in its own time.
        var look = new AgentCommand("sh", "-c", "while ps | grep -v grep | grep -q 'sleep 4242'; do usleep 1000; done");
        (await client.ExecAsync(look).WaitAsync(TimeSpan.FromMinutes(1))).ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public async Task A_program_left_behind_does_not_hold_up_the_end()
    {
        var client = await guest.ClientAsync();

        var result = await client.ExecAsync("sh", "-c", "sleep 1000 & echo started");

        result.Output.Should().Be("started\n");
        await client.ExecAsync("killall", "sleep");
    }

    [SkippableFact]
    public async Task The_clock_is_set()
    {
        var client = await guest.ClientAsync();

        await client.SetClockAsync(new DateTimeOffset(2031, 5, 6, 7, 8, 9, TimeSpan.Zero));

        (await client.ExecAsync("date", "-u", "+%Y-%m-%d %H")).Output.Should().Be("2031-05-06 07\n");
    }

    [SkippableFact]
    public async Task Only_as_much_input_as_a_program_reads_is_sent()
    {
        var client = await guest.ClientAsync();

        var exit = await client.RunAsync(new AgentCommand("head", "-c", "10"), new MemoryStream(new byte[10 << 20]), null, null);

        exit.ExitCode.Should().Be(0);
    }

    private static async Task<long> CountAsync(Func<Memory<byte>, CancellationToken, ValueTask<int>> read, long most)
    {
        byte[] buffer = new byte[65536];
        long total = 0;
        for (int count; total < most && (count = await read(buffer, CancellationToken.None)) > 0;)
            total += count;
        return total;
    }
}
