namespace Kvm.Vmm.Lifecycle;

/// <summary>Who makes an engine stand still: a debugger, a pause, or both. It goes on when neither does, as the debugger said last.</summary>
/// <param name="hold">The engine's own: whether it stands still, and whether the guest runs freely if it does not.</param>
internal sealed class EngineHolds(Action<bool, bool> hold)
{
    private readonly Lock _lock = new();
    private bool _debugged;
    private bool _paused;
    private bool _runs = true;

    /// <summary>The debugger's word; no vCPU is in the guest.</summary>
    public void ByDebugger(bool held, bool runs)
    {
        lock (_lock)
        {
            (_debugged, _runs) = (held, runs);
            if (!_paused)
                hold(held, runs);
        }
    }

    /// <summary>A pause's word; no vCPU is in the guest.</summary>
    public void ByPause(bool held)
    {
        lock (_lock)
        {
            _paused = held;
            if (!_debugged)
                hold(held, !held && _runs);
        }
    }
}
