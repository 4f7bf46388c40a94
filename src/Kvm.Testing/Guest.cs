using System.Text.RegularExpressions;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Reporting;

namespace Kvm.Testing;

/// <summary>
/// A guest with an agent, in this process: programs are run in it, files copied to it and from it. Every member may be called by any thread; what was asked of it fails
/// with a <see cref="GuestEndedException"/> when the guest ends. It ends with the process, however that ends.
/// </summary>
public sealed partial class Guest : IAsyncDisposable
{
    /// <summary>How long a guest may take to power off before it is stopped.</summary>
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(10);

    private readonly GuestOptions _options;
    private readonly VmConfig _config;
    private readonly string _files;
    private readonly GuestConsole _console = new();
    private readonly SemaphoreSlim _changing = new(1, 1);
    private GuestRun? _run;
    private bool _isDisposed;

    private Guest(GuestOptions options)
    {
        _options = options;
        _files = RunFolder.NewPath("g");
        _config = GuestMachine.Configure(options, _files);
    }

    /// <summary>What it is called.</summary>
    public string Name => _options.Name;

    /// <summary>What it was started from.</summary>
    public GuestOptions Options => _options;

    /// <summary>What it has printed, over all its boots.</summary>
    public GuestConsole Console => _console;

    /// <summary>The machine that runs it now; another one after <see cref="RebootAsync"/>.</summary>
    public VirtualMachine Machine => Run.Machine;

    /// <summary>Completes when the guest has ended; after a reboot this is another task.</summary>
    public Task<RunResult> Ended => Run.Machine.Ended;

    /// <summary>The Unix socket by which its sockets (AF_VSOCK) can be reached, by Firecracker's convention.</summary>
    public string SocketPath => _config.Vsock!.SocketPath;

    /// <summary>Where the frames of its network cards are captured, or null.</summary>
    internal string? CapturePath => _config.Capture?.Path;

    /// <summary>It may change files of the host's that no restore sets back.</summary>
    internal bool HasWritableDisks => _config.Disks.Any(disk => !disk.ReadOnly);

    private GuestRun Run => Volatile.Read(ref _run) ?? throw new ObjectDisposedException(Name);

    /// <summary>Starts a guest, and waits until its agent answers.</summary>
    /// <param name="options">The guest.</param>
    /// <param name="cancellation">Gives up; nothing is left of the guest then.</param>
    /// <exception cref="GuestUnavailableException">This host cannot run it.</exception>
    /// <exception cref="GuestEndedException">It ended before its agent answered.</exception>
    /// <exception cref="GuestTimeoutException">Its agent did not answer in time.</exception>
    /// <exception cref="GuestException">One of its modules is not there, or is none.</exception>
    /// <exception cref="VmmException">The machine cannot be built.</exception>
    public static async Task<Guest> StartAsync(GuestOptions? options = null, CancellationToken cancellation = default)
    {
        options ??= new GuestOptions();
        if (options.RequiresKvm)
            HostCheck.RequireKvm();
        cancellation.ThrowIfCancellationRequested();
        var guest = new Guest(options);
        try
        {
            await guest.BootAsync(cancellation).ConfigureAwait(false);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Waits until the guest has printed a line, at any time.</summary>
    /// <param name="line">A regular expression for a part of the line.</param>
    /// <param name="timeout">How long; half a minute where nothing is said.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>The line.</returns>
    /// <exception cref="GuestEndedException">The guest ended without having printed it.</exception>
    /// <exception cref="GuestTimeoutException">It did not come in time.</exception>
    public async Task<string> WaitForLineAsync(string line, TimeSpan? timeout = null, CancellationToken cancellation = default)
    {
        var limit = timeout ?? TimeSpan.FromSeconds(30);
        using var timed = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timed.CancelAfter(limit);
        try
        {
            return await _console.WaitForLineAsync(new Regex(line, RegexOptions.CultureInvariant), 0, timed.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new GuestTimeoutException($"the line {VisibleText.Quote(line, 100)} on the console of {Name}", limit, _console.Tail);
        }
    }

    /// <summary>Reboots the guest in order, and waits until its agent answers again. What was asked of it meanwhile fails.</summary>
    /// <param name="cancellation">Gives up; the guest is stopped then.</param>
    /// <exception cref="GuestEndedException">It ended otherwise than by a reboot, or did not come up again.</exception>
    public async Task RebootAsync(CancellationToken cancellation = default)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            var run = Run;
            await LeaveAsync(run, reboot: true, cancellation).ConfigureAwait(false);
            var result = await run.Machine.Ended.ConfigureAwait(false);
            await run.DisposeAsync().ConfigureAwait(false);
            if (result.Outcome != VmOutcome.Reboot)
                throw await EndOfAsync(run).ConfigureAwait(false);
            await BootAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Has the guest power off in order; where it does not within ten seconds, it is stopped.</summary>
    /// <param name="cancellation">Stops it at once.</param>
    /// <returns>How it ended and what it did.</returns>
    public async Task<RunResult> StopAsync(CancellationToken cancellation = default)
    {
        var run = Run;
        await LeaveAsync(run, reboot: false, cancellation).ConfigureAwait(false);
        return await run.Machine.Ended.ConfigureAwait(false);
    }

    /// <summary>Ends the guest at once, as if its power were cut, and gives everything back to the host.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, true))
            return;
        if (Interlocked.Exchange(ref _run, null) is { } run)
            await run.DisposeAsync().ConfigureAwait(false);
        GuestMachine.Clean(_files);
    }

    private async Task BootAsync(CancellationToken cancellation)
    {
        _console.Reopen();
        var run = await BeginAsync(() => GuestMachine.Build(_config, _console), returns: false, cancellation).ConfigureAwait(false);
        if (_options.Network is not null)
            await AskAsync(run, agent => NameAsync(agent, cancellation)).ConfigureAwait(false);
    }

    /// <summary>Starts a machine and connects with its agent.</summary>
    /// <param name="build">Builds it.</param>
    /// <param name="returns">It goes on from a snapshot.</param>
    /// <param name="cancellation">Gives up.</param>
    private async Task<GuestRun> BeginAsync(Func<VirtualMachine> build, bool returns, CancellationToken cancellation)
    {
        var run = new GuestRun(await Task.Run(build, cancellation).ConfigureAwait(false));
        Volatile.Write(ref _run, run);
        run.Machine.Start();
        _ = CloseAsync(run);
        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var connecting = returns ? ReconnectAsync(giveUp.Token) : AgentClient.ConnectAsync(SocketPath, _options.StartTimeout, giveUp.Token);
        if (await Task.WhenAny(connecting, run.Machine.Ended).ConfigureAwait(false) != connecting)
        {
            await giveUp.CancelAsync().ConfigureAwait(false);
            _ = connecting.ContinueWith(static task => _ = task.Exception, TaskScheduler.Default);
            throw await EndOfAsync(run).ConfigureAwait(false);
        }

        try
        {
            run.Agent = await connecting.ConfigureAwait(false);
            return run;
        }
        catch (AgentException e) when (run.Machine.Ended.IsCompleted)
        {
            throw await EndOfAsync(run, e).ConfigureAwait(false);
        }
        catch (AgentException e) when (e.Error == AgentErrors.NoAgent)
        {
            throw new GuestTimeoutException($"the agent of {Name}", returns ? s_return : _options.StartTimeout, _console.Tail);
        }
    }

    private async Task<GuestEndedException> EndOfAsync(GuestRun run, Exception? inner = null) =>
        new(Name, await run.Machine.Ended.ConfigureAwait(false), _console.Tail, inner);

    /// <summary>
    /// The kernel has asked for an address and was told of a nameserver, which programs look for in a file. A guest without a shell does without names.
    /// </summary>
    private static async Task<bool> NameAsync(AgentClient agent, CancellationToken cancellation)
    {
        try
        {
            var command = new AgentCommand("sh", "-c", "mkdir -p /etc; [ -s /etc/resolv.conf ] || cp /proc/net/pnp /etc/resolv.conf");
            return (await agent.ExecAsync(command, cancellation).ConfigureAwait(false)).ExitCode == 0;
        }
        catch (AgentException e) when (e.Error == AgentErrors.NoProgram)
        {
            return false;
        }
    }

    /// <summary>Who waits for a line or an answer of a guest that has ended learns it: the machine's sockets are closed with it.</summary>
    private async Task CloseAsync(GuestRun run)
    {
        var result = await run.Machine.Ended.ConfigureAwait(false);
        _console.Close(new GuestEndedException(Name, result, _console.Tail));
        await run.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Asks the guest to end; stops it where it does not.</summary>
    private static async Task LeaveAsync(GuestRun run, bool reboot, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_farewell);
        try
        {
            await run.Agent!.ShutdownAsync(reboot, limit.Token).ConfigureAwait(false);
            await run.Machine.Ended.WaitAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is AgentException or OperationCanceledException)
        {
            run.Machine.Stop(VmOutcome.StoppedByUser);
        }
    }

    /// <summary>One boot: the machine and the connection with its agent.</summary>
    private sealed class GuestRun(VirtualMachine machine) : IAsyncDisposable
    {
        private readonly Lazy<Task> _end = new(() => Task.Run(machine.Dispose));

        public VirtualMachine Machine => machine;

        public AgentClient? Agent { get; set; }

        public async ValueTask DisposeAsync()
        {
            machine.Stop(VmOutcome.StoppedByUser);
            await machine.Ended.ConfigureAwait(false);
            await _end.Value.ConfigureAwait(false);
            if (Agent is not null)
                await Agent.DisposeAsync().ConfigureAwait(false);
        }
    }
}
