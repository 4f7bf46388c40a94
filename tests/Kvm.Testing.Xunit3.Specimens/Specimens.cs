namespace Kvm.Testing.Xunit3.Specimens;

/// <summary>A guest for the tests here.</summary>
public sealed class SharedGuest : VmFixture
{
    protected override GuestOptions Options => new() { Name = "xunit3" };

    protected override Task PrepareAsync(Guest guest) => guest.CheckAsync("sh", "-c", "echo prepared >/tmp/state");
}

/// <summary>A guest that no host can run.</summary>
public sealed class ImpossibleGuest : VmFixture
{
    protected override GuestOptions Options => throw new GuestUnavailableException("there is no such image");
}

/// <summary>Two that pass, one that fails, one that finds out that this host cannot.</summary>
public sealed class SpecimenTests(SharedGuest fixture) : IClassFixture<SharedGuest>
{
    [VmFact]
    public async Task Passes() => Assert.Equal("prepared", await fixture.Guest.CheckAsync("cat", "/tmp/state"));

    [VmTheory]
    [InlineData("one")]
    [InlineData("another")]
    public async Task Fails(string word)
    {
        await fixture.Guest.CheckAsync("sh", "-c", $"echo failing {word} >/dev/console");
        Assert.Equal("another", word);
    }

    [VmFact]
    public void Is_skipped_by_what_it_says() => throw new GuestUnavailableException("not today");
}

/// <summary>One whose guest cannot be started.</summary>
public sealed class ImpossibleTests(ImpossibleGuest fixture) : IClassFixture<ImpossibleGuest>
{
    [VmFact]
    public void Is_skipped_before_it_runs() => throw new InvalidOperationException($"it has run with {fixture.Guest.Name}");
}
