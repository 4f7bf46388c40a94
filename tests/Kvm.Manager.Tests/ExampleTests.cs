using Kvm.Cli.Tests;

namespace Kvm.Manager.Tests;

public sealed class ExampleTests : IDisposable
{
    private readonly TemporaryState _state = new();

    public ExampleTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableFact]
    public void The_example_in_the_documents_does_what_it_says()
    {
        var ended = Published.Shell($"export KVMSHARP_STATE={_state.Options.StateFolder} KVMSHARP_RUNTIME={_state.Options.RuntimeFolder}; "
            + $"READY=R {Path.Combine(Published.Root(), "docs", "examples", "lifecycle.sh")} {Guests.PowerButton} --engine soft --memory 2M");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().MatchRegex("one +paused").And.MatchRegex("two +stopped .* powered off when asked").And.Contain("\"how\": \"stop\"").And.Contain("two  stopped  poweroff, stop");
        ended.Output.Should().Contain("\"state\": \"paused\"");
        _state.Manager.List().Should().BeEmpty("it cleans up");
    }
}
