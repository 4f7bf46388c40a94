using System.Collections.Concurrent;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Kvm.Testing.Tests;

/// <summary>What xunit 2 makes of tests with guests.</summary>
[Collection(nameof(SharedGuest))]
public sealed class AdapterTests(SharedGuest fixture)
{
    [VmFact]
    public async Task A_test_that_passes_keeps_nothing()
    {
        var (summary, messages) = await RunAsync(nameof(Specimens.Passes), fixture);
        (summary.Total, summary.Failed, summary.Skipped).Should().Be((1, 0, 0));
        messages.OfType<ITestPassed>().Should().ContainSingle();
    }

    [VmFact]
    public async Task A_test_that_fails_says_where_what_its_guest_did_is_kept()
    {
        var (summary, messages) = await RunAsync(nameof(Specimens.Fails), fixture);
        (summary.Total, summary.Failed, summary.Skipped).Should().Be((1, 1, 0));
        string output = messages.OfType<ITestFailed>().Should().ContainSingle().Subject.Output;
        string folder = output[output.IndexOf('/', StringComparison.Ordinal)..].TrimEnd();
        try
        {
            File.ReadAllText(Path.Combine(folder, "console.log")).Should().Contain("GUEST-UP");
            File.ReadAllText(Path.Combine(folder, "report.json")).Should().Contain("\"exits\"");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [VmFact]
    public async Task A_test_that_finds_out_that_this_host_cannot_is_skipped_with_the_sentence()
    {
        var (summary, messages) = await RunAsync(nameof(Specimens.Lacks_something), fixture);
        (summary.Total, summary.Failed, summary.Skipped).Should().Be((1, 0, 1));
        messages.OfType<ITestSkipped>().Should().ContainSingle().Which.Reason.Should().Be("not today");
    }

    [Fact]
    public async Task A_test_whose_guest_cannot_be_started_here_is_skipped_before_it_runs()
    {
        await using var impossible = new ImpossibleGuest();
        await impossible.StartAsync();
        var (summary, messages) = await RunAsync(nameof(Specimens.Fails), impossible);
        (summary.Total, summary.Failed, summary.Skipped).Should().Be((1, 0, 1));
        messages.OfType<ITestSkipped>().Should().ContainSingle().Which.Reason.Should().Be("there is no such image");
        impossible.Invoking(f => f.Guest).Should().Throw<GuestUnavailableException>().WithMessage("there is no such image");
    }

    [Fact]
    public async Task A_guest_whose_preparation_fails_is_gone_and_what_it_did_is_kept()
    {
        try
        {
            _ = GuestImage.Small;
        }
        catch (GuestUnavailableException)
        {
            return;
        }

        string folder = Directory.CreateTempSubdirectory("kvmsharp-testing").FullName;
        try
        {
            await using var unprepared = new UnpreparedGuest(folder);
            var failure = await unprepared.Awaiting(f => f.StartAsync()).Should().ThrowAsync<GuestException>();
            failure.Which.Message.Should().Contain("returned 1").And.Contain(folder);
            Directory.GetFiles(folder, "console.log", SearchOption.AllDirectories).Should().ContainSingle();
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<(RunSummary, ConcurrentQueue<IMessageSinkMessage>)> RunAsync(string name, VmFixture fixture)
    {
        var assembly = new TestAssembly(Reflector.Wrap(typeof(Specimens).Assembly));
        var testClass = new TestClass(new TestCollection(assembly, null, "specimens"), Reflector.Wrap(typeof(Specimens)));
        var method = new TestMethod(testClass, Reflector.Wrap(typeof(Specimens).GetMethod(name)!));
        var diagnostics = new NullMessageSink();
        var attribute = Reflector.Wrap(method.Method.ToRuntimeMethod().CustomAttributes.Single(a => a.AttributeType == typeof(VmFactAttribute)));
        var test = new VmFactDiscoverer(diagnostics).Discover(new NoOptions(), method, attribute).Single();
        using var bus = new Bus();
        using var cancellation = new CancellationTokenSource();
        var summary = await test.RunAsync(diagnostics, bus, [fixture], new ExceptionAggregator(), cancellation);
        return (summary, bus.Messages);
    }

    private sealed class Bus : IMessageBus
    {
        public ConcurrentQueue<IMessageSinkMessage> Messages { get; } = [];

        public bool QueueMessage(IMessageSinkMessage message)
        {
            Messages.Enqueue(message);
            return true;
        }

        public void Dispose()
        {
            // The messages are looked at afterwards.
        }
    }

    private sealed class NoOptions : ITestFrameworkDiscoveryOptions
    {
        public TValue? GetValue<TValue>(string name) => default;

        public void SetValue<TValue>(string name, TValue value) => throw new NotSupportedException();
    }

    private sealed class ImpossibleGuest : VmFixture
    {
        protected override GuestOptions Options => throw new GuestUnavailableException("there is no such image");
    }

    private sealed class UnpreparedGuest(string folder) : VmFixture
    {
        protected override string ArtifactFolder => folder;

        protected override Task PrepareAsync(Guest guest) => guest.CheckAsync("false");
    }

#pragma warning disable xUnit1000 // They are run by the tests above alone.
    private sealed class Specimens
    {
        public Specimens(VmFixture fixture) => _ = fixture;

        [VmFact]
        public void Passes() => true.Should().BeTrue();

        [VmFact]
        public void Fails() => throw new InvalidOperationException("as it should");

        [VmFact]
        public void Lacks_something() => throw new GuestUnavailableException("not today");
    }
#pragma warning restore xUnit1000
}
