namespace Kvm.Testing;

/// <summary>
/// A guest for several tests: booted and prepared once, and set back to that moment before each test. What test frameworks need of it is here; <c>VmFixture</c> of
/// Kvm.Testing.Xunit and Kvm.Testing.Xunit3 is what tests derive from.
/// </summary>
public abstract class GuestFixture : IAsyncDisposable
{
    private Guest? _guest;
    private GuestSnapshot? _prepared;
    private bool _isUsed;

    /// <summary>The guest. A test that comes by it outside of <c>[VmFact]</c> and <c>[VmTheory]</c> fails where this host cannot run it.</summary>
    /// <exception cref="GuestUnavailableException">This host cannot run it.</exception>
    public Guest Guest => _guest ?? throw new GuestUnavailableException(Unavailable ?? "the guest was not started: the fixture's StartAsync was not called");

    /// <summary>Why this host cannot run the guest, in a sentence; null where it does.</summary>
    public string? Unavailable { get; private set; }

    /// <summary>Why tests find what others before them left in the guest, in a sentence; null where each gets it as it was prepared.</summary>
    public string? Shared { get; private set; }

    /// <summary>Sets the guest back before each test. Without, tests share it as it is.</summary>
    protected virtual bool Restores => true;

    /// <summary>The guest to be started. Asked once.</summary>
    protected virtual GuestOptions Options => new();

    /// <summary>Where what is kept of failed tests goes.</summary>
    protected virtual string ArtifactFolder => GuestArtifacts.DefaultFolder;

    /// <summary>What every test finds done: files copied, services started. Called once, when the guest's agent answers.</summary>
    /// <param name="guest">The guest.</param>
    protected virtual Task PrepareAsync(Guest guest) => Task.CompletedTask;

    /// <summary>Boots and prepares the guest. Where this host cannot run it, that is kept in <see cref="Unavailable"/>.</summary>
    /// <param name="cancellation">Gives up; nothing is left then.</param>
    public async Task StartAsync(CancellationToken cancellation = default)
    {
        try
        {
            _guest = await Guest.StartAsync(Options, cancellation).ConfigureAwait(false);
        }
        catch (GuestUnavailableException e)
        {
            Unavailable = e.Message;
            return;
        }

        try
        {
            await PrepareAsync(_guest).ConfigureAwait(false);
            Shared = !Restores ? "the fixture says so" : _guest.HasWritableDisks ? "what a guest wrote to its disks is not undone" : null;
            if (Shared is null)
                _prepared = await _guest.SnapshotAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // What a test would have kept is lost otherwise: nothing has begun that could fail.
            string folder = KeepArtifacts(GetType().Name);
            await DisposeAsync().ConfigureAwait(false);
            throw new GuestException($"the guest {Options.Name} could not be prepared (kept in {folder}): {e.Message}", e);
        }
    }

    /// <summary>Before each test: sets the guest back to how it was prepared, also where it has ended since.</summary>
    /// <param name="requiresKvm">The test needs KVM to run its guest natively.</param>
    /// <exception cref="GuestUnavailableException">This host cannot run the test, and why.</exception>
    /// <exception cref="GuestException">The guest does not come back.</exception>
    public async Task BeforeTestAsync(bool requiresKvm = false)
    {
        if (requiresKvm)
            HostCheck.RequireKvm();
        var guest = Guest;
        // The first test finds it as it was prepared.
        if (_isUsed && _prepared is not null)
            await guest.RestoreAsync(_prepared).ConfigureAwait(false);
        _isUsed = true;
    }

    /// <summary>After a test that failed: keeps console, exits and captured frames.</summary>
    /// <param name="test">The test's name.</param>
    /// <returns>Where they are.</returns>
    public string KeepArtifacts(string test)
    {
        string folder = Path.Combine(ArtifactFolder, GuestArtifacts.FolderNameOf(test));
        GuestArtifacts.Save(Guest, folder);
        return folder;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _guest, null) is { } guest)
            await guest.DisposeAsync().ConfigureAwait(false);
        GC.SuppressFinalize(this);
    }
}
