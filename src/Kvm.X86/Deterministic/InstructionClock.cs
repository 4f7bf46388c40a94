using Kvm.X86.Engine;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Deterministic;

/// <summary>
/// Time that comes from retired instructions: each is a nanosecond, whichever processor retires it, and what all sleep through is added
/// by <see cref="SkipTo"/>. As processors take turns on one thread, no one ever sees time go back. Used by that thread alone.
/// </summary>
public sealed class InstructionClock : GuestClock
{
    private SoftProcessor? _running;

    // The time, less what the running processor has retired.
    private ulong _base;

    /// <summary>Makes a clock at time 0; the time-stamp counter's ticks are nanoseconds.</summary>
    public InstructionClock()
        : base(DefaultTscFrequency)
    {
    }

    /// <inheritdoc/>
    public override ulong Now => _running is { } processor ? _base + processor.Instructions : _base;

    /// <summary>From here on this processor's instructions are time.</summary>
    internal void BeginTurn(SoftProcessor processor)
    {
        _base -= processor.Instructions;
        _running = processor;
    }

    /// <summary>The processor's turn is over.</summary>
    internal void EndTurn()
    {
        _base = Now;
        _running = null;
    }

    /// <summary>Sets the time of a machine that does not run, before its chips are restored.</summary>
    public void Set(ulong nanoseconds) => _base = nanoseconds;

    /// <summary>Between turns: nothing happens until then.</summary>
    internal void SkipTo(ulong nanoseconds) => _base = Math.Max(_base, nanoseconds);
}
