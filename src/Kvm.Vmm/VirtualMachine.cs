using Kvm.Vmm.Boot;
using Kvm.Vmm.Console;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Host;
using Kvm.Vmm.Lifecycle;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Vcpu;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm;

/// <summary>
/// One guest: built by <see cref="Build"/>, started once, ended once. The first reason to end wins; when the last vCPU
/// thread has left the guest, <see cref="Ended"/> completes with the result.
/// </summary>
/// <remarks>Every public member may be called from any thread.</remarks>
public sealed partial class VirtualMachine : IDisposable
{
    private readonly VmConfig _config;
    private readonly IEngine _engine;
    private readonly RamMapping _ram;
    private readonly Snapshots.Lazy.PagedMemory? _paged;
    private readonly PlatformDevices _devices;
    private readonly VirtioSet _virtio;
    private readonly VcpuThread[] _vcpus;
    private readonly ConsoleWatcher _console;
    private readonly MachineMonitor _monitor;
    private readonly MachinePause _pause;
    private readonly string _hostBackend;
    private readonly Func<MachineFault, string, bool>? _faulted;
    private readonly TaskCompletionSource<RunResult> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _whenReady = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _endLock = new();
    private MachineDebugger? _debugger;
    private ITimer? _panicTimer;
    private Action? _consoleInputReady;
    private VmOutcome? _outcome;
    private string? _explanation;
    private uint? _debugExitValue;
    private int? _signal;
    private int _running;
    private bool _started;
    private long _firstRunTicks;
    private long _readyCpuTicks;

    internal VirtualMachine(VmConfig config, MachineParts parts)
    {
        _config = config;
        _engine = parts.Engine;
        _ram = parts.Ram;
        _paged = parts.Paged;
        _devices = parts.Devices;
        _virtio = parts.Virtio;
        _console = parts.Console;
        _hostBackend = parts.HostBackend;
        _faulted = parts.Faulted;
        CommandLine = parts.CommandLine;
        _vcpus = [.. parts.Vcpus.Select((engine, index) => new VcpuThread(this, engine, index, parts.Seats?[index], config.Affinity))];
        _pause = new MachinePause(_vcpus, _engine, _virtio, _engine.Time as MachineTime);
        foreach (var vcpu in _vcpus)
            vcpu.PassBy(_pause.Gate);
        _console.Ready = () =>
        {
            Volatile.Write(ref _readyCpuTicks, _vcpus.Sum(vcpu => vcpu.CpuTime.Ticks));
            _whenReady.TrySetResult();
        };
        _monitor = new MachineMonitor(this, _vcpus, config.Timeout, parts.HangAfter);
        _devices.Connect(this);
        _devices.ConsoleInputReady += OnConsoleInputReady;
        if (_virtio.Console is { } login)
        {
            login.InputSpaceAvailable += port =>
            {
                if (port == 0)
                    OnConsoleInputReady();
            };
        }

        _virtio.Connect(message => EndWith(VmOutcome.Error, message));
        _paged?.Connect(message => EndWith(VmOutcome.Error, message));
    }

    /// <summary>Builds the machine: everything but running it.</summary>
    /// <exception cref="VmmException">The configuration, an input file or the host does not allow it.</exception>
    public static VirtualMachine Build(VmConfig config, VmHost host)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(host);
        return VmBuilder.Build(config, host);
    }

    /// <summary>The kernel command line the guest was given.</summary>
    public string CommandLine { get; }

    /// <summary>Completes when the guest has ended and every vCPU thread is out of it. Never faults.</summary>
    public Task<RunResult> Ended => _ended.Task;

    /// <summary>Completes when the guest has written what <see cref="VmConfig.ReadyMatch"/> says; never where it says nothing. Never faults.</summary>
    public Task WhenReady => _whenReady.Task;

    /// <summary>Raised, on a vCPU thread, when the guest's console takes input again after <see cref="SendConsoleInput"/> accepted less than it was given.</summary>
    public event Action? ConsoleInputReady
    {
        add => _consoleInputReady += value;
        remove => _consoleInputReady -= value;
    }

    /// <summary>
    /// Raised once, on any thread, when the machine begins to end, before its vCPUs are asked to leave the guest: whoever holds one up
    /// (a console that takes nothing) lets it go. Must not block or throw.
    /// </summary>
    public event Action? Stopping;

    /// <summary>
    /// The machine's debugger, made when it is first asked for: before <see cref="Start"/>, the guest then waits at its first instruction;
    /// later, it runs on until it is stopped. Debugging costs nothing where nobody asked.
    /// </summary>
    public MachineDebugger Debugger
    {
        get
        {
            lock (_endLock)
            {
                if (_debugger is { } made)
                    return made;
                var debugger = new MachineDebugger(_vcpus, _engine, _ram.Memory, _pause.Holds.ByDebugger,
                    budget => _virtio.Devices.Count == 0 ? _engine.KeepHistory(_devices.Parts, _console, budget) : null);
                if (_started)
                    debugger.Hold.BeginOpen();
                foreach (var vcpu in _vcpus)
                    vcpu.PassBy(debugger.Hold);
                return _debugger = debugger;
            }
        }
    }

    /// <summary>Starts the vCPU threads. Call once.</summary>
    public void Start()
    {
        if (Interlocked.Exchange(ref _running, _vcpus.Length) != 0)
            throw new InvalidOperationException("the machine was started before");
        lock (_endLock)
        {
            _started = true;
            _debugger?.Hold.Start();
        }

        foreach (var vcpu in _vcpus)
            vcpu.Start();
        _monitor.Start();
        lock (_lifecycle)
        {
            if (_resumesAtStart)
                ResumeNow();
        }
    }

    /// <summary>Ends the guest from outside; nothing happens if it is already ending.</summary>
    /// <param name="outcome">Why, for the report.</param>
    /// <param name="signal">The signal's number where one is the reason.</param>
    public void Stop(VmOutcome outcome, int? signal = null)
    {
        lock (_endLock)
            _signal ??= _outcome is null ? signal : null;
        EndWith(outcome);
    }

    /// <summary>Types <paramref name="input"/> on the guest's console.</summary>
    /// <returns>How many bytes were taken; the rest waits for <see cref="ConsoleInputReady"/>.</returns>
    public int SendConsoleInput(ReadOnlySpan<byte> input) =>
        _virtio.Console is { } console ? console.SendInput(0, input) : _devices.SendConsoleInput(input);

    /// <summary>Tells the guest how large its console is; nothing happens where that is a serial port, which has no size.</summary>
    /// <param name="columns">Characters in a line.</param>
    /// <param name="rows">Lines.</param>
    public void SetConsoleSize(ushort columns, ushort rows) => _virtio.Console?.Resize(columns, rows);

    /// <summary>Bytes of guest memory that the host has given by now. While the machine is there.</summary>
    internal long GuestResidentBytes => _ram.ResidentBytes();

    /// <summary>As <see cref="VirtioSet.LeaveMemory"/>.</summary>
    internal void LeaveMemory(ulong bytes) => _virtio.LeaveMemory(bytes);

    /// <summary>The guest's memory.</summary>
    internal Kvm.Devices.Memory.GuestMemory Memory => _ram.Memory;

    /// <summary>Its vCPUs, for who looks at them while they run.</summary>
    internal IReadOnlyList<VcpuThread> Vcpus => _vcpus;

    /// <summary>What it is.</summary>
    internal VmConfig Config => _config;

    /// <summary><c>kvm</c> or <c>soft</c>.</summary>
    public string EngineName => _engine.Name;

    /// <summary>Types Ctrl-Alt-Del on the guest's keyboard; nothing where it has none (<see cref="VmConfig.Keyboard"/>).</summary>
    public void PressCtrlAltDel() => _devices.PressCtrlAltDel();

    /// <summary>Presses the ACPI power button.</summary>
    /// <returns>Whether the guest has asked to be told of that.</returns>
    public bool PressPowerButton() => _devices.PressPowerButton();

    /// <summary>
    /// Writes the translations that were executed most as JSON (docs/cli.md, "translate"). After <see cref="Ended"/>, before
    /// <see cref="Dispose"/>; of a machine with <see cref="VmConfig.KeepTranslations"/>.
    /// </summary>
    /// <param name="output">Where the document goes.</param>
    public void WriteTranslations(Stream output)
    {
        if (!Ended.IsCompleted)
            throw new InvalidOperationException("the guest still runs");
        TranslationsJson.Write(output, _config.Name, _vcpus.Select(v => (v.Index, v.Engine.ReadTranslations(TranslationsJson.MostBlocks))));
    }

    /// <summary>Ends the guest if it still runs, then gives everything back to the host: who interrupts before who is interrupted. A second call does nothing.</summary>
    public void Dispose()
    {
        if (_started)
        {
            EndWith(VmOutcome.Error, "the machine was disposed while the guest ran");
            foreach (var vcpu in _vcpus)
                vcpu.Join();
        }

        EndCheckpoints();
        // A snapshot under way reads memory: it ends first.
        lock (_snapshots)
        {
            lock (_lifecycle)
            {
                if (_isDisposed)
                    return;
                _isDisposed = true;
            }
        }

        _monitor.Dispose();
        _panicTimer?.Dispose();
        // Threads of devices and the engine's timers interrupt vCPUs: they end first.
        _virtio.Dispose();
        _devices.Dispose();
        _engine.Silence();
        foreach (var vcpu in _vcpus)
        {
            vcpu.Engine.Dispose();
            vcpu.Dispose();
        }

        _engine.Dispose();
        _paged?.Dispose();
        _ram.Dispose();
    }

    /// <summary>Takes the first reason to end, and makes every vCPU leave the guest.</summary>
    internal void EndWith(VmOutcome outcome, string? explanation = null, uint? debugExitValue = null)
    {
        lock (_endLock)
        {
            if (_outcome is not null)
                return;
            _outcome = outcome;
            _explanation = explanation;
            _debugExitValue = debugExitValue;
        }

        Stopping?.Invoke();
        foreach (var vcpu in _vcpus)
            vcpu.RequestStop();
    }

    /// <summary>Ends a guest that reported a panic, unless it resets by itself within <paramref name="grace"/>, or somebody else decides.</summary>
    internal void EndAfterPanic(TimeSpan grace)
    {
        if (_faulted?.Invoke(MachineFault.Panic, "the guest reported a panic") == true)
            return;
        if (_engine.Determinism is null)
            _monitor.EndAfterPanic(grace);
        else
            _panicTimer ??= _engine.Time.CreateTimer(_ => EndWith(VmOutcome.Panic, "the guest reported a panic"), null, grace, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A vCPU makes no progress: that is told, no more.</summary>
    internal void OnHang(string why) => _faulted?.Invoke(MachineFault.Hang, why);

    /// <summary>The guest's watchdog ran out: it ends, unless somebody else decides.</summary>
    internal void OnWatchdog()
    {
        const string why = "the guest did not set its watchdog back in time";
        if (_faulted?.Invoke(MachineFault.Watchdog, why) != true)
            EndWith(VmOutcome.Watchdog, why);
    }

    /// <summary>A vCPU cannot go on: a debugger that was not shown that yet is, and true.</summary>
    internal bool OnDebugFault(int vcpu)
    {
        if (Volatile.Read(ref _debugger) is not { } debugger || !debugger.Hold.TryShowFault(vcpu))
            return false;
        debugger.Nudge();
        return true;
    }

    /// <summary>Exits by reason, and instructions retired, of all vCPUs so far.</summary>
    public SortedDictionary<string, long> ExitCounts()
    {
        var exits = new SortedDictionary<string, long>(StringComparer.Ordinal);
        var completions = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var vcpu in _vcpus)
        {
            var reasons = new SortedDictionary<string, long>(StringComparer.Ordinal);
            vcpu.Engine.AddCounts(reasons, completions);
            foreach (var (reason, count) in reasons)
                exits[reason] = exits.GetValueOrDefault(reason) + count;
            if (vcpu.Engine.Instructions is { } instructions)
                exits["instructions"] = instructions + exits.GetValueOrDefault("instructions");
        }

        foreach (var (mnemonic, count) in completions)
            exits[$"completed {mnemonic}"] = count;
        return exits;
    }

    /// <summary>A vCPU's local APIC in KVM's layout; while the machine stands still.</summary>
    internal bool TryReadLapic(int vcpu, Span<byte> page) => _engine.TryReadLapic(vcpu, page);

    /// <summary>Whether runs of the machine repeat.</summary>
    internal bool IsDeterministic => _config.Deterministic;

    /// <summary>Whether a debugger or a pause holds the guest, which then is neither idle nor stuck.</summary>
    internal bool IsHeld => IsPaused || Volatile.Read(ref _debugger) is { IsStopped: true };

    /// <summary>A vCPU stopped for the debugger: all do.</summary>
    internal void OnDebugStop(int vcpu, X86.Engine.DebugHit hit)
    {
        _debugger!.Hold.Report(vcpu, hit);
        _debugger.Nudge();
    }

    /// <summary>Keeps the time of the first entry into the guest.</summary>
    internal void NoteFirstRun() => Interlocked.CompareExchange(ref _firstRunTicks, ProcessClock.SinceProcessStart().Ticks, 0);

    /// <summary>Called by each vCPU thread as its last deed.</summary>
    internal void OnVcpuEnded(VcpuThread vcpu, VcpuStop stop, string? failure)
    {
        switch (stop)
        {
            case VcpuStop.TripleFault:
                EndWith(VmOutcome.TripleFault, failure);
                break;
            case VcpuStop.Failed:
                EndWith(VmOutcome.KvmFailed, failure);
                break;
        }

        if (Interlocked.Decrement(ref _running) == 0)
        {
            if (_outcome is null)
                EndWith(VmOutcome.Halted, "every vCPU has halted with interrupts off");
            _monitor.Stop();
            _ended.TrySetResult(MakeResult());
        }
    }

    private void OnConsoleInputReady() => _consoleInputReady?.Invoke();

    private RunResult MakeResult()
    {
        var exits = new SortedDictionary<string, long>(StringComparer.Ordinal);
        var completions = new SortedDictionary<string, long>(StringComparer.Ordinal);
        List<VcpuReport> vcpus = [];
        foreach (var vcpu in _vcpus)
        {
            var reasons = new SortedDictionary<string, long>(StringComparer.Ordinal);
            vcpu.Engine.AddCounts(reasons, completions);
            vcpus.Add(vcpu.Report with { Reasons = reasons });
            foreach (var (reason, count) in reasons)
                exits[reason] = exits.GetValueOrDefault(reason) + count;
        }

        var counters = DeviceCounters();
        long guestResident = _ram.ResidentBytes();
        return new RunResult
        {
            Outcome = FinalOutcome(),
            DebugExitValue = _debugExitValue,
            Signal = _signal,
            Explanation = _explanation,
            Engine = _engine.Name,
            HostBackend = _hostBackend,
            FirstRun = _firstRunTicks == 0 ? null : TimeSpan.FromTicks(_firstRunTicks),
            Ready = _console.ReadyAt,
            ReadyCpu = _console.ReadyAt is null ? null : TimeSpan.FromTicks(Volatile.Read(ref _readyCpuTicks)),
            Total = ProcessClock.SinceProcessStart(),
            Exits = exits,
            ExitDetails = ExitDetailReport.Of(_vcpus.Select(v => v.Engine.Observatory)),
            Completions = completions,
            Vcpus = vcpus,
            VmmRssBytes = Math.Max(0, ProcessMemory.ResidentBytes() - guestResident),
            GuestResidentBytes = guestResident,
            Determinism = _engine.Determinism is { } determinism ? determinism with { MemoryHash = MemoryHash.Of(_ram.Memory) } : null,
            Paging = _engine.Paging,
            Devices = counters,
        };
    }

    /// <summary>
    /// A panic is never reported as something milder: a guest that told pvpanic, or printed the kernel's panic line and
    /// then reset, halted or shut down, has panicked (docs/cli.md, "Exit codes").
    /// </summary>
    private VmOutcome FinalOutcome()
    {
        var outcome = _outcome ?? VmOutcome.Error;
        bool ends = outcome is VmOutcome.Reboot or VmOutcome.PowerOff or VmOutcome.Halted or VmOutcome.TripleFault;
        return ends && (_console.PanicSeen || _devices.PanicReported) ? VmOutcome.Panic : outcome;
    }
}
