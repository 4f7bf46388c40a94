using Kvm.Vmm.Control;

namespace Kvm.Manager.Working;

/// <summary><c>pause</c> and <c>resume</c>: the guest stands still, or goes on.</summary>
/// <param name="run">Who writes it down.</param>
/// <param name="pause">Which of the two.</param>
internal sealed class PauseRequest(MachineRun run, bool pause) : IControlRequest
{
    public string Name => pause ? "pause" : "resume";

    public string Form => Name;

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words.Count > 0 ? null : new ControlAnswer(json =>
        json.WriteString("state", Lifecycle.NameOf(run.SetPaused(pause).State)));
}
