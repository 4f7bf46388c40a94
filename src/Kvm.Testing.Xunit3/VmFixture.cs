using Xunit;

namespace Kvm.Testing.Xunit3;

/// <summary>
/// A guest for the tests of a class (<see cref="IClassFixture{TFixture}"/>) or of a collection (<see cref="ICollectionFixture{TFixture}"/>): derive from it, say what guest it is, and
/// take it in the constructor of the test class. Collections run in parallel, each with its guest.
/// </summary>
public class VmFixture : GuestFixture, IAsyncLifetime
{
    async ValueTask IAsyncLifetime.InitializeAsync() => await StartAsync(TestContext.Current.CancellationToken).ConfigureAwait(false);
}
