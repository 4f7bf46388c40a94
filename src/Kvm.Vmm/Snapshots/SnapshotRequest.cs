using Kvm.Vmm.Control;

namespace Kvm.Vmm.Snapshots;

/// <summary>
/// <c>snapshot NAME all|increment COMPRESSION [key=BASE64] FOLDER</c>: takes a snapshot of the guest into the store in FOLDER. Answered when it is in the
/// store, by <c>name</c>, <c>identity</c>, <c>parent</c>, <c>downtimeMs</c>, <c>pages</c>, <c>storedBytes</c> and <c>disks</c>.
/// </summary>
internal sealed class SnapshotRequest : IControlRequest
{
    public const string Increment = "increment", All = "all";

    public string Name => "snapshot";

    public string Form => $"snapshot NAME all|increment {StoreWords.Form}";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words)
    {
        if (words.Count < 4 || words[1] is not (Increment or All) || StoreWords.Read(words.Skip(2)) is not var (store, compression))
            return null;
        string name = words[0];
        var options = new SnapshotTakeOptions { Incremental = words[1] == Increment, Compression = compression };
        return new ControlAnswer(json =>
        {
            var taken = target.Machine.TakeSnapshot(store, name, options);
            json.WriteString("name", taken.Name);
            json.WriteString("identity", taken.Identity);
            json.WriteString("parent", taken.Parent);
            json.WriteNumber("downtimeMs", Math.Round(taken.Downtime.TotalMilliseconds, 3));
            json.WriteNumber("pages", taken.Pages);
            json.WriteNumber("storedBytes", taken.StoredBytes);
            json.WriteStartArray("disks");
            foreach (var disk in taken.Disks)
            {
                json.WriteStartObject();
                json.WriteString("name", disk.Name);
                json.WriteString("kept", disk.Keeping.ToString().ToLowerInvariant());
                json.WriteString("why", disk.Why);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }
}
