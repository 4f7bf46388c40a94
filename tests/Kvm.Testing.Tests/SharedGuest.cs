namespace Kvm.Testing.Tests;

/// <summary>The guest that tests share which neither end it nor need one of their own.</summary>
public sealed class SharedGuest : VmFixture
{
    protected override GuestOptions Options => new()
    {
        Name = "shared",
        Files = [new GuestFile("srv/greeting", "hello from the host\n"u8.ToArray())],
    };
}

/// <summary>The tests that do.</summary>
[CollectionDefinition(nameof(SharedGuest))]
public sealed class SharedGuestTests : ICollectionFixture<SharedGuest>;
