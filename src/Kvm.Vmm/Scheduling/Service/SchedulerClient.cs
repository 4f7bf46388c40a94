using System.Globalization;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>What a guest wants of a scheduler, and how one is started where there is none.</summary>
public sealed record SchedulerWish
{
    /// <summary>The policy.</summary>
    public required string Policy { get; init; }

    /// <summary>The VM.</summary>
    public required SchedulingRequest Request { get; init; }

    /// <summary>Whether it waits where there is no room for it.</summary>
    public bool MayWait { get; init; }

    /// <summary>The rules of a scheduler that has to be started; where one runs that has others, <see cref="Notice"/> is told.</summary>
    public SchedulerRules Rules { get; init; } = new();

    /// <summary>Takes messages for people.</summary>
    public Action<string>? Notice { get; init; }
}

/// <summary>A connection to a scheduler of this user, found by its socket in the runtime folder. Not thread-safe.</summary>
public sealed class SchedulerClient : IDisposable
{
    internal const string LockName = "sched.lock";

    private const string SocketPattern = "sched.*.sock";

    /// <summary>ms within which a scheduler says who it is.</summary>
    private const int HelloPatience = 10_000;

    private const int MostStarts = 3;

    private readonly UnixSocket _socket;

    private SchedulerClient(UnixSocket socket, JsonElement hello)
    {
        _socket = socket;
        Policy = VisibleText.Escape(Wire.Text(hello, "policy") ?? "");
        Cpus = CpuList.Parse(Wire.Text(hello, "cpus", 65_536) ?? "") ?? [];
        Rules = RulesForm.Read(hello);
    }

    /// <summary>Its policy.</summary>
    public string Policy { get; }

    /// <summary>The CPUs it gives away.</summary>
    public IReadOnlyList<int> Cpus { get; }

    /// <summary>Its policy's rules.</summary>
    public PolicySettings Rules { get; }

    /// <summary>The socket of a scheduler for these CPUs: sets without a common CPU have different lowest ones.</summary>
    public static string SocketPath(string folder, IReadOnlyList<int> cpus) =>
        Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"sched.{(cpus.Count > 0 ? cpus[0] : 0)}.sock"));

    /// <summary>The schedulers that answer, by their sockets.</summary>
    public static IEnumerable<SchedulerClient> All(string folder)
    {
        foreach (string path in Directory.GetFiles(folder, SocketPattern).Order(StringComparer.Ordinal))
        {
            if (TryConnect(path) is { } client)
                yield return client;
        }
    }

    /// <summary>The scheduler of these CPUs, or null.</summary>
    public static SchedulerClient? Find(string folder, IReadOnlyList<int> cpus)
    {
        ArgumentNullException.ThrowIfNull(cpus);
        foreach (var client in All(folder))
        {
            if (client.Cpus.Intersect(cpus).Any())
                return client;
            client.Dispose();
        }

        return null;
    }

    /// <summary>Whether these CPUs have a scheduler.</summary>
    public static bool IsThere(string folder, IReadOnlyList<int> cpus)
    {
        using var client = Find(folder, cpus);
        return client is not null;
    }

    /// <summary>Joins the scheduler of this process's CPUs; starts one where there is none.</summary>
    /// <param name="wish">What is wanted.</param>
    /// <param name="cancel">Ends the wait for a place.</param>
    /// <exception cref="VmmException">Another policy rules these CPUs, the guest is not admitted, or no scheduler can be started.</exception>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public static SchedulerPlace Join(SchedulerWish wish, CancellationToken cancel) => Join(wish, Folders.Runtime, cancel);

    /// <summary>Starts the scheduler of this process's CPUs where there is none. It waits a few seconds for its first guest.</summary>
    /// <param name="wish">What is wanted of it.</param>
    /// <exception cref="VmmException">Another policy rules these CPUs, or no scheduler can be started.</exception>
    public static void Start(SchedulerWish wish)
    {
        ArgumentNullException.ThrowIfNull(wish);
        FindOrStart(Folders.Runtime, HostThread.GetAffinity(0), wish, mayStart: true).Dispose();
    }

    internal static SchedulerPlace Join(SchedulerWish wish, string folder, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(wish);
        int[] cpus = HostThread.GetAffinity(0);
        wish = wish with { Request = wish.Request.OfThisProcess() };
        for (int start = 0; ; start++)
        {
            var client = FindOrStart(folder, cpus, wish, mayStart: start < MostStarts);
            try
            {
                if (client.Register(wish, cancel) is { } place)
                    return place;
            }
            catch
            {
                client.Dispose();
                throw;
            }

            // It ended with its last guest just now: the next one is ours to start.
            client.Dispose();
        }
    }

    /// <summary>The table as text, <c>json</c> or <c>prometheus</c>.</summary>
    /// <exception cref="VmmException">It does not answer any more.</exception>
    public string Show(string format) => Ask(Wire.Frame(json =>
    {
        json.WriteString("op", "show");
        json.WriteString("format", format);
    }));

    /// <summary>The reason for a guest's placement.</summary>
    /// <exception cref="VmmException">There is no such guest.</exception>
    public string Why(string vm) => Ask(Wire.Frame(json =>
    {
        json.WriteString("op", "why");
        json.WriteString("vm", vm);
    }));

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private static SchedulerClient FindOrStart(string folder, IReadOnlyList<int> cpus, SchedulerWish wish, bool mayStart)
    {
        if (Find(folder, cpus) is { } found)
            return Check(found, wish, cpus);
        // One starts it, the others find it.
        using var starting = LockFile.Acquire(Path.Combine(folder, LockName));
        if (Find(folder, cpus) is { } other)
            return Check(other, wish, cpus);
        if (!mayStart)
            throw new VmmException(SchedulingErrors.Unreachable, $"it ended as soon as it was started: {LogOf(folder)}");
        Start(folder, cpus, wish);
        return Find(folder, cpus) is { } started
            ? Check(started, wish, cpus)
            : throw new VmmException(SchedulingErrors.Unreachable, $"it did not start: {LogOf(folder)}");
    }

    private static SchedulerClient Check(SchedulerClient client, SchedulerWish wish, IReadOnlyList<int> cpus)
    {
        if (client.Policy == wish.Policy)
        {
            foreach (var (option, has, asked) in wish.Rules.DifferencesTo(client.Rules))
                wish.Notice?.Invoke($"the scheduler of CPUs {CpuList.Format(client.Cpus)} keeps its {option} ({has}); {asked} was asked for");
            return client;
        }

        using (client)
            throw Ruled(client, wish.Policy, cpus);
    }

    /// <summary>Some of these CPUs have a scheduler already, of another policy.</summary>
    internal static VmmException Ruled(SchedulerClient other, string policy, IReadOnlyList<int> cpus) => new(
        SchedulingErrors.OtherPolicy, $"{other.Policy} rules CPUs {CpuList.Format(other.Cpus)}, and {policy} was asked for on {CpuList.Format(cpus)}");

    /// <summary>Starts a scheduler with the socket it is to listen on: whoever connects waits there until it is up.</summary>
    private static void Start(string folder, IReadOnlyList<int> cpus, SchedulerWish wish)
    {
        string program = Environment.ProcessPath ?? throw new VmmException(SchedulingErrors.Unreachable, "this program does not know its own path");
        using var listener = Listen(SocketPath(folder, cpus));
        List<string> arguments = ["sched", "serve", "--policy", wish.Policy, "--inherited-socket", "--with-guests", .. wish.Rules.ToArguments()];
        try
        {
            int process = DetachedProcess.Start(program, arguments, Path.Combine(folder, "sched.log"), listener.Handle);
            wish.Notice?.Invoke(string.Create(CultureInfo.InvariantCulture, $"started a scheduler with policy {wish.Policy} for CPUs {CpuList.Format(cpus)} (process {process})"));
        }
        catch (KvmException e)
        {
            throw new VmmException(SchedulingErrors.Unreachable, e.Message, e);
        }
    }

    /// <summary>A socket at a path where nobody listens any more; its file is the user's alone.</summary>
    /// <exception cref="VmmException">The path cannot be used.</exception>
    public static UnixSocket Listen(string path)
    {
        try
        {
            File.Delete(path);
            var listener = UnixSocket.Listen(path, backlog: 1024);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            return listener;
        }
        catch (Exception e) when (e is KvmException or IOException or UnauthorizedAccessException)
        {
            throw new VmmException(SchedulingErrors.Unreachable, $"{VisibleText.Quote(path)}: {e.Message}", e);
        }
    }

    private static SchedulerClient? TryConnect(string path)
    {
        if (UnixSocket.TryConnect(path, out var socket) != 0)
            return null;
        if (Wire.Send(socket!, Wire.Frame(json => json.WriteString("op", "hello"))) && Wire.Receive(socket!, HelloPatience, out var descriptor) is { } hello)
        {
            descriptor?.Dispose();
            using (hello)
                return new SchedulerClient(socket!, hello.RootElement);
        }

        socket!.Dispose();
        return null;
    }

    private static string LogOf(string folder)
    {
        try
        {
            string[] lines = File.ReadAllLines(Path.Combine(folder, "sched.log"));
            return lines.Length == 0 ? "it said nothing" : VisibleText.Escape(string.Join("; ", lines.Take(2).Select(line => line.Trim())));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "it left no log";
        }
    }

    /// <returns>Null where the scheduler is gone.</returns>
    private SchedulerPlace? Register(SchedulerWish wish, CancellationToken cancel)
    {
        if (!Wire.Send(_socket, RegistrationForm.Write(wish.Request, wish.MayWait)))
            return null;
        // Whoever cancels ends the connection, and with it the wait.
        using var ending = cancel.Register(() => _socket.Shutdown());
        while (true)
        {
            using var answer = Wire.Receive(_socket, patience: -1, out var descriptor);
            cancel.ThrowIfCancellationRequested();
            if (answer is null)
            {
                descriptor?.Dispose();
                return null;
            }

            switch (Wire.Text(answer.RootElement, "status"))
            {
                case "admitted" when descriptor is not null:
                    return Seat(answer.RootElement, descriptor, wish);
                case "queued":
                    wish.Notice?.Invoke($"waits to be admitted: {VisibleText.Escape(Wire.Text(answer.RootElement, "detail", 4096) ?? "")}");
                    break;
                default:
                    descriptor?.Dispose();
                    throw Fault(answer.RootElement);
            }
        }
    }

    private SchedulerPlace Seat(JsonElement answer, FdHandle descriptor, SchedulerWish wish)
    {
        var table = GateTable.TryOpen(descriptor) ?? throw new VmmException(SchedulingErrors.Unreachable, "its table is not one this program knows");
        int count = wish.Request.Job.Vcpus, first = (int)Wire.Number(answer, "firstSlot", -1, 0, table.Slots - count);
        return first >= 0
            ? new SchedulerPlace(_socket, table, new GateSeats(table, first, count))
            : throw new VmmException(SchedulingErrors.Unreachable, "it gave a place that is not in its table");
    }

    private string Ask(byte[] question)
    {
        if (!Wire.Send(_socket, question) || Wire.Receive(_socket, HelloPatience, out var descriptor) is not { } answer)
            throw new VmmException(SchedulingErrors.Unreachable, "it does not answer");
        descriptor?.Dispose();
        using (answer)
            return Wire.Text(answer.RootElement, "text", Wire.MostAnswerBytes) ?? throw Fault(answer.RootElement);
    }

    private static VmmException Fault(JsonElement answer)
    {
        var known = SchedulingErrors.All.FirstOrDefault(error => error.Id == Wire.Text(answer, "error")) ?? SchedulingErrors.Unreachable;
        return new VmmException(known, VisibleText.Escape(Wire.Text(answer, "detail", 4096) ?? "it says nothing of this version"));
    }
}

/// <summary>A guest's place at a scheduler of another process. A thread keeps watch: when the scheduler is gone the gates open.</summary>
public sealed class SchedulerPlace : ISchedulerPlace
{
    private const int WatchPeriod = 100;

    private readonly UnixSocket _socket;
    private readonly GateTable _table;
    private readonly Thread _watch;
    private volatile bool _left;

    internal SchedulerPlace(UnixSocket socket, GateTable table, GateSeats seats)
    {
        (_socket, _table, Seats) = (socket, table, seats);
        _watch = new Thread(Watch, maxStackSize: 256 << 10) { Name = "sched-watch", IsBackground = true };
        _watch.Start();
    }

    /// <summary>The gates, for <see cref="VmHost.Seats"/>.</summary>
    public GateSeats Seats { get; }

    /// <summary>Leaves. After the machine was disposed: its threads may not use the gates any more.</summary>
    public void Dispose()
    {
        if (_left)
            return;
        _left = true;
        _socket.Shutdown();
        _watch.Join();
        _socket.Dispose();
    }

    private void Watch()
    {
        while (!_left)
        {
            Seats.Publish();
            int ready = Descriptor.Poll([new PollFd { Fd = _socket.Handle.Fd, Events = PollFd.POLLIN }], WatchPeriod);
            if (ready != 0)
            {
                byte[] nothing = new byte[256];
                int count = _socket.Receive(nothing, out var stray, wait: false);
                stray?.Dispose();
                if (count <= 0 && count != -Errno.EAGAIN)
                {
                    if (!_left)
                        Seats.Lose("its process has ended");
                    return;
                }
            }
            else if (!_table.IsAlive(HostClock.Monotonic()))
            {
                Seats.Lose("it does not answer any more");
                return;
            }
        }
    }
}
