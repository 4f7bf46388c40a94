using Kvm.Cli.Tests;

namespace Kvm.Manager.Tests.Pools;

public sealed class PoolExampleTests : IDisposable
{
    private readonly TemporaryState _state = new();

    public PoolExampleTests() => Published.Require();

    public void Dispose() => _state.Dispose();

    [SkippableFact]
    public void The_example_in_the_documents_does_what_it_says()
    {
        var ended = Published.Shell($"export KVMSHARP_STATE={_state.Options.StateFolder} KVMSHARP_RUNTIME={_state.Options.RuntimeFolder}; "
            + $"{Path.Combine(Published.Root(), "docs", "examples", "pools.sh")} {Guests.Loop} --engine soft --memory 2M");
        ended.ExitCode.Should().Be(0, ended.Output + ended.Error);
        ended.Output.Should().MatchRegex("web3 +10.77.0.33 +\\S+ +static +yes").And.Contain("web1 is as it was").And.Contain("broken, as expected").And.MatchRegex("problem: web1: ");
        _state.Manager.List().Should().BeEmpty("it cleans up");
        new Kvm.Manager.Pools.PoolStore(_state.Options).List().Should().BeEmpty();
        new Kvm.Manager.Networks.NetworkStore(_state.Options).List().Should().BeEmpty();
    }
}
