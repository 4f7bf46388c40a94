namespace Kvm.Vmm;

/// <summary>Standing still and going on (docs/snapshots.md).</summary>
public sealed partial class VirtualMachine
{
    private readonly Lock _lifecycle = new();
    private bool _isDisposed;

    /// <summary>Whether the machine is paused.</summary>
    public bool IsPaused => _pause.IsPaused;

    /// <summary>
    /// Whether guest time stands still while the machine is paused. Where the host cannot move a vCPU's time stamp counter it jumps by the length of the pause
    /// when the guest goes on; the guest's wall clock is right then, and behind otherwise until the guest looks at its RTC.
    /// </summary>
    public bool PauseStopsTime => _engine.TimeStops;

    /// <summary>
    /// Makes the machine stand still: when it returns no vCPU is in the guest, nothing the devices began at the host is under way, and nothing
    /// but the caller changes guest memory until <see cref="Resume"/>. Nothing is lost: what the guest asked for and nobody has begun stays in its rings.
    /// Before <see cref="Start"/> the guest then waits at its first instruction. Nothing happens where it is paused or has ended.
    /// </summary>
    /// <remarks>
    /// Waits for accesses of vCPUs to devices (a console that takes nothing holds it up) and for what disks have begun. The time limit counts on; a debugger
    /// may stop and inspect the machine meanwhile, and what it lets go waits for <see cref="Resume"/>. Any thread but the machine's own.
    /// </remarks>
    public void Pause()
    {
        lock (_lifecycle)
        {
            if (!IsPaused && !_isDisposed && !_ended.Task.IsCompleted)
                _pause.Begin();
        }
    }

    /// <summary>Lets a paused machine go on. Nothing happens where it is not. Any thread but the machine's own.</summary>
    public void Resume()
    {
        lock (_lifecycle)
        {
            if (IsPaused && !_isDisposed)
                _pause.End();
        }
    }
}
