using Kvm.Vmm.Control;

namespace Kvm.Manager.Working;

/// <summary><c>stop</c>: presses the guest's power button, and has its agent power it off where it has one and does not listen.</summary>
/// <param name="agent">The agent; null where it has none.</param>
internal sealed class StopRequest(AgentErrands? agent) : IControlRequest
{
    public string Name => "stop";

    public string Form => "stop";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words.Count > 0 ? null : new ControlAnswer(json =>
    {
        // A guest that stands still could not answer its power button.
        target.Machine.Resume();
        bool listens = target.Machine.PressPowerButton();
        agent?.PowerOff(listens);
        json.WriteBoolean("pressed", true);
    });
}
