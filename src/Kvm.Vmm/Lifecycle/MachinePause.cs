using Kvm.Vmm.Vcpu;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Lifecycle;

/// <summary>
/// Makes a machine stand still and go on (docs/snapshots.md): vCPUs out of the guest, what devices have begun at the host ended, guest time stopped.
/// What is in a ring stays there; nothing touches guest memory while it is paused.
/// </summary>
/// <param name="vcpus">The threads.</param>
/// <param name="engine">Who runs them.</param>
/// <param name="virtio">The devices with rings.</param>
/// <param name="time">The devices' time; null where it is the guest's own.</param>
internal sealed class MachinePause(VcpuThread[] vcpus, IEngine engine, VirtioSet virtio, MachineTime? time)
{
    private volatile bool _isPaused;

    /// <summary>What the threads pass.</summary>
    public PauseGate Gate { get; } = new(vcpus.Length);

    /// <summary>Who makes the engine stand still.</summary>
    public EngineHolds Holds { get; } = new(engine.Hold);

    /// <summary>Whether the machine is paused.</summary>
    public bool IsPaused => _isPaused;

    /// <summary>Makes the machine stand still. One thread at a time; it is not paused.</summary>
    public void Begin()
    {
        Empty();
        Holds.ByPause(true);
        engine.StopTime();
        foreach (var device in virtio.Devices)
            device.Pause();
        time?.Stop();
        _isPaused = true;
    }

    /// <summary>Does something while no vCPU is in the guest; devices and time go on. One thread at a time; the machine is not paused.</summary>
    public void WhileStill(Action what)
    {
        Empty();
        try
        {
            what();
        }
        finally
        {
            Gate.Open();
        }
    }

    private void Empty()
    {
        Gate.Close();
        foreach (var vcpu in vcpus)
            vcpu.Nudge();
        Gate.WaitUntilEmpty();
    }

    /// <summary>Lets it go on. One thread at a time; it is paused.</summary>
    public void End()
    {
        _isPaused = false;
        time?.GoOn();
        engine.ResumeTime();
        Holds.ByPause(false);
        foreach (var device in virtio.Devices)
            device.Resume();
        Gate.Open();
    }
}
