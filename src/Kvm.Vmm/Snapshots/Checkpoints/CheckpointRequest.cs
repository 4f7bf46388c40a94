using System.Globalization;
using System.Text.Json;
using Kvm.Vmm.Control;

namespace Kvm.Vmm.Snapshots.Checkpoints;

/// <summary>
/// <c>checkpoint start INTERVAL-MS BUDGET-BYTES</c>, <c>checkpoint take</c>, <c>checkpoint stop</c>, <c>checkpoint ls</c>: moments of the guest in memory. Each is answered by
/// <c>checkpoints</c>, oldest first, each with <c>number</c>, <c>agoMs</c> and <c>pages</c>.
/// </summary>
internal sealed class CheckpointRequest : IControlRequest
{
    public string Name => "checkpoint";

    public string Form => "checkpoint start INTERVAL-MS BUDGET-BYTES|take|stop|ls";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words)
    {
        var machine = target.Machine;
        Action? deed = words switch
        {
            ["start", var interval, var budget] when int.TryParse(interval, NumberStyles.None, CultureInfo.InvariantCulture, out int ms) && ulong.TryParse(budget, NumberStyles.None, CultureInfo.InvariantCulture, out ulong bytes) =>
                () => machine.KeepCheckpoints(new CheckpointOptions(TimeSpan.FromMilliseconds(ms), bytes)),
            ["take"] => () => machine.TakeCheckpoint(),
            ["stop"] => machine.EndCheckpoints,
            ["ls"] => Nothing,
            _ => null,
        };
        return deed is null ? null : new ControlAnswer(json =>
        {
            deed();
            json.WriteStartArray("checkpoints");
            foreach (var moment in machine.Checkpoints)
            {
                json.WriteStartObject();
                Write(json, moment);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    internal static void Write(Utf8JsonWriter json, CheckpointInfo moment)
    {
        json.WriteNumber("number", moment.Number);
        json.WriteNumber("agoMs", Math.Max(0, (long)(DateTimeOffset.UtcNow - moment.Taken).TotalMilliseconds));
        json.WriteNumber("pages", moment.Pages);
    }

    /// <summary>What each deed is followed by is all that is asked for.</summary>
    private static void Nothing()
    {
    }
}

/// <summary>
/// <c>back number N</c>, <c>back ago MS</c>: the guest goes on from a moment, or from the newest one so long ago. Answered by its <c>number</c>, <c>agoMs</c> and
/// <c>pages</c>.
/// </summary>
internal sealed class BackRequest : IControlRequest
{
    public string Name => "back";

    public string Form => "back number N|ago MS";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) =>
        words is [("number" or "ago") and var what, var text] && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long value) && value <= int.MaxValue
            ? new ControlAnswer(json => CheckpointRequest.Write(json, what == "number" ? target.Machine.GoBack(value) : target.Machine.GoBack(TimeSpan.FromMilliseconds(value))))
            : null;
}
