using Kvm.Vmm.Control;

namespace Kvm.Manager.Working;

/// <summary><c>stop</c>: presses the guest's power button.</summary>
internal sealed class StopRequest : IControlRequest
{
    public string Name => "stop";

    public string Form => "stop";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words.Count > 0 ? null : new ControlAnswer(json =>
    {
        // A guest that stands still could not answer its power button.
        target.Machine.Resume();
        target.Machine.PressPowerButton();
        json.WriteBoolean("pressed", true);
    });
}
