using Xunit.Abstractions;
using Xunit.Sdk;

namespace Kvm.Testing.Xunit;

/// <summary>What is around a test with a guest.</summary>
internal static class VmTestRun
{
    /// <summary>Makes the guest ready, runs the test, and makes of what it says what it means.</summary>
    /// <param name="testCase">The test.</param>
    /// <param name="requiresKvm">As of <see cref="VmFactAttribute.RequiresKvm"/>.</param>
    /// <param name="bus">Takes what the test says.</param>
    /// <param name="constructorArguments">Among them the fixture, where the class has one.</param>
    /// <param name="run">Runs the test as xunit does.</param>
    public static async Task<RunSummary> RunAsync(IXunitTestCase testCase, bool requiresKvm, IMessageBus bus, object[] constructorArguments, Func<IMessageBus, Task<RunSummary>> run)
    {
        var fixture = constructorArguments.OfType<VmFixture>().FirstOrDefault();
        try
        {
            if (fixture is not null)
                await fixture.BeforeTestAsync(requiresKvm).ConfigureAwait(false);
            else if (requiresKvm)
                HostCheck.RequireKvm();
        }
        catch (GuestUnavailableException e)
        {
            return Skip(testCase, bus, e.Message);
        }

        using var understood = new VmMessageBus(bus, fixture);
        var summary = await run(understood).ConfigureAwait(false);
        summary.Failed -= understood.Skipped;
        summary.Skipped += understood.Skipped;
        return summary;
    }

    private static RunSummary Skip(IXunitTestCase testCase, IMessageBus bus, string reason)
    {
        var test = new XunitTest(testCase, testCase.DisplayName);
        bus.QueueMessage(new TestStarting(test));
        bus.QueueMessage(new TestSkipped(test, reason));
        bus.QueueMessage(new TestFinished(test, 0, null));
        return new RunSummary { Total = 1, Skipped = 1 };
    }

    /// <summary>Passes on what a test says: a failure with what was kept of its guest, and one that says that the host cannot as a skip.</summary>
    private sealed class VmMessageBus(IMessageBus next, VmFixture? fixture) : IMessageBus
    {
        public int Skipped { get; private set; }

        public bool QueueMessage(IMessageSinkMessage message)
        {
            if (message is not ITestFailed failed)
                return next.QueueMessage(message);
            if (failed.ExceptionTypes.FirstOrDefault() == typeof(GuestUnavailableException).FullName)
            {
                Skipped++;
                return next.QueueMessage(new TestSkipped(failed.Test, failed.Messages[0]));
            }

            return next.QueueMessage(fixture is null ? failed
                : new TestFailed(failed.Test, failed.ExecutionTime, failed.Output + Keep(fixture, failed.Test.DisplayName), failed.ExceptionTypes, failed.Messages, failed.StackTraces, failed.ExceptionParentIndices));
        }

        public void Dispose()
        {
            // The bus behind it is xunit's.
        }

        private static string Keep(VmFixture fixture, string test)
        {
            try
            {
                return $"The guest's console, exits and frames are kept in {fixture.KeepArtifacts(test)}\n";
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or GuestException or ObjectDisposedException)
            {
                return $"Nothing of the guest could be kept: {e.Message}\n";
            }
        }
    }
}
