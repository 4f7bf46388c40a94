using System.Text;
using Kvm.Vmm.Agent;

namespace Kvm.Testing.Tests;

/// <summary>Programs in a guest.</summary>
[Collection(nameof(SharedGuest))]
public sealed class ExecTests(SharedGuest fixture)
{
    private Guest Guest => fixture.Guest;

    [VmFact]
    public async Task A_program_returns_its_exit_code_output_and_errors()
    {
        var result = await Guest.ExecAsync("sh", "-c", "echo out; echo err >&2; exit 7");
        (result.ExitCode, result.Output, result.Errors).Should().Be((7, "out\n", "err\n"));
    }

    [VmFact]
    public async Task Uname_says_that_this_is_the_guests_kernel() =>
        (await Guest.CheckAsync("uname", "-r")).Should().StartWith("6.1");

    [VmFact]
    public async Task A_program_that_is_not_there_is_a_typed_error()
    {
        var failure = await Guest.Invoking(guest => guest.ExecAsync("/no/such/program")).Should().ThrowAsync<AgentException>();
        failure.Which.Error.Should().Be(AgentErrors.NoProgram);
    }

    [VmFact]
    public async Task A_program_that_must_succeed_and_fails_says_what_it_wrote()
    {
        var failure = await Guest.Invoking(guest => guest.CheckAsync("sh", "-c", "echo why >&2; exit 3")).Should().ThrowAsync<GuestException>();
        failure.Which.Message.Should().Contain("returned 3").And.Contain("why");
    }

    [VmFact]
    public async Task A_file_of_the_options_is_in_the_guest_from_the_start() =>
        (await Guest.CheckAsync("cat", "/srv/greeting")).Should().Be("hello from the host");

    [VmTheory]
    [InlineData("a b")]
    [InlineData("$HOME;`x`")]
    [InlineData("grüße")]
    public async Task An_argument_arrives_as_it_is(string text) =>
        (await Guest.ExecAsync("printf", "%s", text)).Output.Should().Be(text);

    [VmFact]
    public async Task Streams_of_a_program_pass_what_is_fed_to_it()
    {
        byte[] content = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 20_000).Select(i => $"{i}\n")));
        using var output = new MemoryStream();
        var exit = await Guest.RunAsync(new AgentCommand("tr", "0-9", "1-90"), new MemoryStream(content), output);
        exit.ExitCode.Should().Be(0);
        output.Length.Should().Be(content.Length);
        Encoding.ASCII.GetString(output.ToArray()).Should().StartWith("1\n2\n3\n");
    }

    [VmFact]
    public async Task A_program_that_is_cancelled_ends_and_the_guest_goes_on()
    {
        using var cancellation = new CancellationTokenSource();
        var running = Guest.ExecAsync(new AgentCommand("sh", "-c", "echo begun >/dev/console; exec sleep 1000"), cancellation.Token);
        await Guest.WaitForLineAsync("begun");
        await cancellation.CancelAsync();
        await running.Invoking(task => task).Should().ThrowAsync<OperationCanceledException>();
        (await Guest.CheckAsync("echo", "on")).Should().Be("on");
    }

    [VmFact]
    public async Task Many_programs_run_at_once() =>
        (await Task.WhenAll(Enumerable.Range(0, 30).Select(i => Guest.CheckAsync("echo", $"{i}")))).Should().Equal(Enumerable.Range(0, 30).Select(i => $"{i}"));

    [VmFact]
    public async Task A_line_on_the_console_is_waited_for()
    {
        var waiting = Guest.WaitForLineAsync("^found [0-9]+$");
        await Guest.CheckAsync("sh", "-c", "echo something; echo found 17 >/dev/console");
        (await waiting).Should().Be("found 17");
    }

    [VmFact]
    public async Task A_line_that_does_not_come_is_a_typed_error_after_its_time() =>
        await Guest.Invoking(guest => guest.WaitForLineAsync("never printed", TimeSpan.FromMilliseconds(20))).Should().ThrowAsync<GuestTimeoutException>();

    [VmFact]
    public async Task Wait_cancelled_ends_by_the_callers_cancellation()
    {
        using var cancellation = new CancellationTokenSource();
        var waiting = Guest.WaitForLineAsync("never printed", cancellation: cancellation.Token);
        await cancellation.CancelAsync();
        await waiting.Invoking(task => task).Should().ThrowAsync<OperationCanceledException>();
    }

    [VmFact]
    public async Task A_folder_is_copied_to_the_guest_and_back_as_it_was()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-copy").FullName;
        try
        {
            string source = Directory.CreateDirectory(Path.Combine(folder, "source", "inner")).FullName;
            byte[] content = new byte[300_000];
            Random.Shared.NextBytes(content);
            File.WriteAllBytes(Path.Combine(source, "file"), content);

            await Guest.CopyToAsync(Path.Combine(folder, "source"), "/tmp/copied");
            (await Guest.CheckAsync("sha256sum", "/tmp/copied/inner/file")).Should().StartWith(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(content)));
            await Guest.CopyFromAsync("/tmp/copied", Path.Combine(folder, "back"));

            File.ReadAllBytes(Path.Combine(folder, "back", "inner", "file")).Should().Equal(content);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [VmFact]
    public async Task A_file_that_is_not_there_is_a_typed_error_on_either_side()
    {
        (await Guest.Awaiting(g => g.CopyToAsync("/no/such/file", "/tmp")).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.HostFile);
        (await Guest.Awaiting(g => g.CopyFromAsync("/no/such/file", Path.GetTempPath())).Should().ThrowAsync<AgentException>()).Which.Error.Should().Be(AgentErrors.GuestFile);
    }
}
