using Xunit;
using Xunit.v3;

namespace Kvm.Testing.Xunit3;

/// <summary>What is around a test with a guest.</summary>
internal static class VmTestRun
{
    /// <summary>Makes the guest ready. Xunit asks for it on the test's own thread and waits.</summary>
    /// <param name="requiresKvm">As of <see cref="VmFactAttribute.RequiresKvm"/>.</param>
    public static void Before(bool requiresKvm)
    {
        if (Fixture() is { } fixture)
            fixture.BeforeTestAsync(requiresKvm).GetAwaiter().GetResult();
        else if (requiresKvm)
            HostCheck.RequireKvm();
    }

    /// <summary>Keeps what the guest did where the test failed, and says where.</summary>
    /// <param name="test">The test.</param>
    public static void After(IXunitTest test)
    {
        if (TestContext.Current.TestState is not { Result: TestResult.Failed } || Fixture() is not { Unavailable: null } fixture)
            return;
        try
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"The guest's console, exits and frames are kept in {fixture.KeepArtifacts(test.TestDisplayName)}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or GuestException or ObjectDisposedException)
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"Nothing of the guest could be kept: {e.Message}");
        }
    }

    /// <summary>The fixture that the test class takes in its constructor, where it takes one.</summary>
    private static VmFixture? Fixture()
    {
        var type = (TestContext.Current.TestClass as IXunitTestClass)?.Constructors?.SelectMany(constructor => constructor.GetParameters())
            .Select(parameter => parameter.ParameterType).FirstOrDefault(typeof(VmFixture).IsAssignableFrom);
        return type is null ? null : TestContext.Current.GetFixture(type).AsTask().GetAwaiter().GetResult() as VmFixture;
    }
}
