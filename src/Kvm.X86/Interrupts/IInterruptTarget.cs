namespace Kvm.X86.Interrupts;

/// <summary>The processor's end of its interrupt pins: how the chips get its attention.</summary>
public interface IInterruptTarget
{
    /// <summary>
    /// Something was added to <see cref="IInterruptSource.Pending"/>. The processor sets the word it tests at every block
    /// end and wakes if it is halted; it looks at <see cref="IInterruptSource.Pending"/> later, on its own thread.
    /// </summary>
    /// <remarks>
    /// Called from any thread, possibly with a chip's lock held: it must neither block nor call a chip. The event is
    /// published before the call, so a processor that clears its word first and reads the events afterwards loses none.
    /// </remarks>
    void Notify();
}
