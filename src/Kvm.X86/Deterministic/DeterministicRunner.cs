using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Deterministic;

/// <summary>
/// Runs all processors of a machine on one thread in a fixed interleaving, with time that comes from their retired instructions: two
/// runs from the same state are the same run, whether code is translated or not.
/// </summary>
/// <remarks>
/// <para>Processors take turns, in the order of their numbers, of <see cref="Quantum"/> instructions; a processor that halts ends its
/// turn. A turn is interrupted, to the instruction, where a timer is due. When all halt, time goes to the next deadline at once.</para>
/// <para>Everything that reaches the machine must come from a processor's own instruction or from its timers: devices work on the
/// thread of <see cref="Run"/> and take time from <see cref="GuestTimeProvider"/>. <see cref="Kick"/> is for any thread, and disturbs
/// nothing unless it is the thread of <see cref="Run"/>.</para>
/// </remarks>
public sealed class DeterministicRunner : ITimerDriver
{
    /// <summary>Instructions of a turn where several processors share the thread: the grain of their interleaving.</summary>
    public const ulong Quantum = 20_000;

    /// <summary>Instructions of a turn of a single processor. Nothing in the guest depends on it: it is how soon a kick is noticed.</summary>
    private const ulong LongTurn = 1_000_000;

    /// <summary>For <see cref="Step"/>: whichever processor's turn it is.</summary>
    public const int AnyProcessor = -2;

    private const int NoProcessor = -1;

    private readonly SoftProcessor[] _processors;
    private readonly TimerQueue _timers;
    private readonly InstructionClock _clock;
    private readonly ulong _quantum;
    private SoftProcessor? _running;
    private ulong _turnEnd;
    private ulong _left;
    private int _turn;
    private int _resting;
    private int _thread;
    private int _kicked;
    private int _stepped = NoProcessor;

    /// <summary>Becomes the driver of the machine's timers.</summary>
    /// <param name="processors">All processors, by number; of a machine with <see cref="SoftMachine.Deterministic"/> set.</param>
    /// <param name="timers">The machine's timers, on an <see cref="InstructionClock"/>.</param>
    /// <param name="quantum">Instructions of a turn, from 1; 0 takes <see cref="Quantum"/>.</param>
    /// <exception cref="ArgumentException">There is no processor, or the clock is another one.</exception>
    public DeterministicRunner(IReadOnlyList<SoftProcessor> processors, TimerQueue timers, ulong quantum = 0)
    {
        ArgumentNullException.ThrowIfNull(processors);
        ArgumentNullException.ThrowIfNull(timers);
        if (processors.Count == 0)
            throw new ArgumentException("a machine has at least one processor", nameof(processors));
        _processors = [.. processors];
        _timers = timers;
        _clock = timers.Clock as InstructionClock ?? throw new ArgumentException("time has to come from retired instructions: an InstructionClock", nameof(timers));
        _quantum = quantum != 0 ? quantum : _processors.Length == 1 ? LongTurn : Quantum;
        _left = _quantum;
        timers.Driver = this;
    }

    /// <summary>Instructions retired by all processors. Exact between runs.</summary>
    public ulong Instructions
    {
        get
        {
            ulong sum = 0;
            foreach (var processor in _processors)
                sum += processor.Instructions;
            return sum;
        }
    }

    /// <summary>Ends <see cref="Run"/> and <see cref="Step"/> by <see cref="SoftExit.Limit"/> when so many instructions are retired by all processors, from where it goes on as if it had not.</summary>
    public ulong Limit { get; set; } = ulong.MaxValue;

    /// <summary>Whose turn it is, how many instructions of it are left, and how many processors have found nothing to do. While nothing runs.</summary>
    public (int Turn, ulong Left, int Resting) Turn
    {
        get => (_turn, _left, _resting);
        set => (_turn, _left, _resting) = value;
    }

    /// <summary>
    /// Makes <see cref="Run"/> return <see cref="SoftExit.Kicked"/>: from a device, on the thread of <see cref="Run"/>, behind the
    /// instruction in hand; from elsewhere at the end of a turn, so that the guest cannot tell.
    /// </summary>
    public void Kick()
    {
        Volatile.Write(ref _kicked, 1);
        if (Volatile.Read(ref _thread) == Environment.CurrentManagedThreadId)
            _running?.Yield();
    }

    /// <summary>
    /// Runs until kicked, until nothing can happen any more (<see cref="SoftExit.Halted"/>), or until a processor ends the run; called
    /// again it goes on as if it had not returned.
    /// </summary>
    /// <param name="processor">Which processor ended the run; −1 if none did.</param>
    public SoftExit Run(out int processor)
    {
        Volatile.Write(ref _thread, Environment.CurrentManagedThreadId);
        while (true)
        {
            processor = -1;
            if (Interlocked.Exchange(ref _kicked, 0) != 0)
                return SoftExit.Kicked;
            if (Limit != ulong.MaxValue && Instructions >= Limit)
                return SoftExit.Limit;
            FireTimers();
            var exit = TakeTurn();
            int ran = _turn;
            if (exit == SoftExit.Halted || _left == 0)
                NextTurn();
            if (exit is not (SoftExit.Limit or SoftExit.Halted))
            {
                processor = ran;
                return exit;
            }

            if (_resting >= _processors.Length && !Skip())
                return SoftExit.Halted;
        }
    }

    /// <summary>
    /// Runs until the processor of a number has made one step (<see cref="SoftProcessor.DebugStep"/>), which ends it by
    /// <see cref="SoftExit.Debug"/>; the others run meanwhile as their turns come. The run is the one it would have been anyhow.
    /// </summary>
    /// <param name="number">Which processor is to step, or <see cref="AnyProcessor"/>.</param>
    /// <param name="processor">Which processor ended the run; −1 if none did.</param>
    public SoftExit Step(int number, out int processor)
    {
        _stepped = number;
        var exit = Run(out processor);
        _stepped = NoProcessor;
        return exit;
    }

    /// <inheritdoc/>
    void ITimerDriver.DeadlineMoved(ulong deadline)
    {
        if (_running is { } processor && deadline < _turnEnd)
            processor.Yield();
    }

    /// <summary>Fires what is due; a timer that is armed for the past meanwhile is due as well, and time stands still here.</summary>
    private void FireTimers()
    {
        ulong now = _clock.Now;
        for (int i = 0; i <= _processors.Length && _timers.NextDeadline <= now; i++)
            _timers.Advance(now);
    }

    private SoftExit TakeTurn()
    {
        var processor = _processors[_turn];
        ulong before = processor.Instructions, now = _clock.Now, deadline = _timers.NextDeadline;
        ulong most = deadline > now ? Math.Min(_left, deadline - now) : 1;
        if (Limit != ulong.MaxValue)
            most = Math.Min(most, Limit - Instructions);
        _turnEnd = now + most;
        _clock.BeginTurn(processor);
        _running = processor;
        var exit = _stepped == NoProcessor ? processor.Run(most)
            : _stepped == _turn || _stepped == AnyProcessor ? processor.DebugStep(wait: false) : processor.Run(1);
        _running = null;
        _clock.EndTurn();
        ulong done = processor.Instructions - before;
        // A guest that only faults uses up its turn too; what stops for a debugger does not, so that the turn goes on as it would have.
        _left -= exit == SoftExit.Debug ? done : Math.Min(Math.Max(done, 1), _left);
        _resting = exit == SoftExit.Halted && done == 0 ? _resting + 1 : 0;
        return exit;
    }

    private void NextTurn()
    {
        _left = _quantum;
        _turn = _turn + 1 == _processors.Length ? 0 : _turn + 1;
    }

    /// <summary>All have looked and have nothing to do. False if no timer can change that.</summary>
    private bool Skip()
    {
        _resting = 0;
        bool stuck = true;
        foreach (var processor in _processors)
            stuck &= processor.IsStuck;
        if (stuck || _timers.NextDeadline == TimerQueue.Never)
            return false;
        _clock.SkipTo(_timers.NextDeadline);
        return true;
    }
}
