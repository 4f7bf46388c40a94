using Xunit;

namespace Kvm.Testing.Xunit;

/// <summary>
/// A guest for the tests of a class (<see cref="IClassFixture{TFixture}"/>) or of a collection (<see cref="ICollectionFixture{TFixture}"/>): derive from it, say what guest it is, and
/// take it in the constructor of the test class. Collections run in parallel, each with its guest.
/// </summary>
public class VmFixture : GuestFixture, IAsyncLifetime
{
    async Task IAsyncLifetime.InitializeAsync() => await StartAsync().ConfigureAwait(false);

    async Task IAsyncLifetime.DisposeAsync() => await DisposeAsync().ConfigureAwait(false);
}
