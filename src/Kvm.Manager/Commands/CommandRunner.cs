using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Commands;

/// <summary>
/// Does the commands of a queue: those of one machine one after another, of several machines beside one another. Any number of processes may have one: each machine's
/// commands are done by whoever has its lock, and when that process ends another goes on with those that wait. Thread-safe.
/// </summary>
public sealed class CommandRunner : IDisposable
{
    private const int StackBytes = 512 << 10;

    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(1);

    private readonly CommandQueue _queue;
    private readonly VmManager _manager;
    private readonly Action<string> _notice;
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _end = new();
    private readonly Dictionary<string, Thread> _active = new(StringComparer.Ordinal);
    private readonly Dictionary<CommandId, CancellationTokenSource> _running = [];
    private readonly Thread _thread;

    private CommandRunner(CommandQueue queue, Action<string> notice)
    {
        (_queue, _notice) = (queue, notice);
        _manager = new VmManager(queue.Options);
        _thread = new Thread(Main, StackBytes) { Name = "commands", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Begins: with what waits, also of an earlier process, and goes on with what comes.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="notice">Takes messages for people; may be null.</param>
    public static CommandRunner Start(CommandQueue queue, Action<string>? notice = null)
    {
        ArgumentNullException.ThrowIfNull(queue);
        return new CommandRunner(queue, notice ?? (static _ => { }));
    }

    /// <summary>Begins no other command, has those that run end where they are (they are <see cref="CommandState.Interrupted"/>), and waits for that.</summary>
    public void Dispose()
    {
        List<Thread> threads;
        lock (_lock)
        {
            if (_end.IsCancellationRequested)
                return;
            _end.Cancel();
            threads = [_thread, .. _active.Values];
        }

        foreach (var thread in threads)
            thread.Join();
        _end.Dispose();
    }

    private void Main()
    {
        while (!_end.IsCancellationRequested)
        {
            try
            {
                using var watch = _queue.Watch();
                while (!_end.IsCancellationRequested)
                    watch.Wait(Look() ? s_longest : s_look, _end.Token);
            }
            catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
            {
                // A full disk, a folder that is gone: what was taken is still there when that is over.
                _notice($"commands are not done for now: {VisibleText.Escape(e.Message)}");
                _end.Token.WaitHandle.WaitOne(s_look);
            }
        }
    }

    /// <summary>Begins what can be begun. False where another process has a machine whose commands wait, of whose end no file tells.</summary>
    private bool Look()
    {
        bool all = true;
        var open = _queue.List().Where(command => !command.HasEnded).ToList();
        lock (_lock)
        {
            foreach (var command in open)
            {
                if (command.CancelAsked && _running.TryGetValue(command.Id, out var running))
                    running.Cancel();
                if (!_active.ContainsKey(command.Vm) && !_end.IsCancellationRequested)
                    all &= TryBegin(command.Vm);
            }
        }

        return all;
    }

    private bool TryBegin(string vm)
    {
        if (_queue.TryLockRunner(vm) is not { } held)
            return false;
        var thread = new Thread(() => DoAll(vm, held), StackBytes) { Name = $"commands {vm}", IsBackground = true };
        _active[vm] = thread;
        thread.Start();
        return true;
    }

    private void DoAll(string vm, HostLock held)
    {
        try
        {
            _queue.Interrupt(vm);
            while (true)
            {
                Command? next;
                lock (_lock)
                {
                    next = _end.IsCancellationRequested ? null : _queue.Begin(vm);
                    if (next is null)
                    {
                        // Under the lock: what is taken from now on is begun by who looks next.
                        held.Dispose();
                        _active.Remove(vm);
                        return;
                    }
                }

                Do(next);
            }
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            _notice($"commands of {vm} are not done for now: {VisibleText.Escape(e.Message)}");
            _end.Token.WaitHandle.WaitOne(s_look);
            lock (_lock)
            {
                held.Dispose();
                _active.Remove(vm);
            }
        }
    }

    private void Do(Command command)
    {
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(_end.Token);
        lock (_lock)
            _running[command.Id] = cancel;
        Func<Command, Command> end;
        try
        {
            string? result = _queue.Verbs.Do(_manager, command, cancel.Token);
            end = how => how with { State = CommandState.Done, Result = result is { Length: <= CommandVerbs.MostResultBytes } ? result : null };
        }
        catch (OperationCanceledException)
        {
            end = how => how.CancelAsked
                ? how with { State = CommandState.Cancelled }
                : how with { State = CommandState.Interrupted, Error = "its process ended before it was done" };
        }
        catch (Exception e) when (e is VmmException or IOException or UnauthorizedAccessException)
        {
            end = how => how with { State = CommandState.Failed, ErrorId = (e as VmmException)?.Error.Id, Error = VisibleText.Escape(e.Message) };
        }
        finally
        {
            lock (_lock)
                _running.Remove(command.Id);
        }

        _queue.End(command.Id, end);
    }
}
