using Kvm.Vmm.Control;
using Kvm.Vmm.Reporting;

namespace Kvm.Manager.Working;

/// <summary><c>kill</c>: ends the guest where it is.</summary>
internal sealed class KillRequest : IControlRequest
{
    public string Name => "kill";

    public string Form => "kill";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words.Count > 0 ? null : new ControlAnswer(json =>
    {
        target.Machine.Stop(VmOutcome.StoppedByUser);
        json.WriteBoolean("ended", true);
    });
}
