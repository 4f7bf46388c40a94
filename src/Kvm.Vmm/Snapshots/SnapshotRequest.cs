using Kvm.Vmm.Control;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>
/// <c>snapshot NAME all|increment COMPRESSION FOLDER</c>: takes a snapshot of the guest into the store in FOLDER, whose blanks are its own. Answered when it is in the
/// store, by <c>name</c>, <c>identity</c>, <c>parent</c>, <c>downtimeMs</c>, <c>pages</c>, <c>storedBytes</c> and <c>disks</c>.
/// </summary>
internal sealed class SnapshotRequest : IControlRequest
{
    public const string Increment = "increment", All = "all";

    public string Name => "snapshot";

    public string Form => "snapshot NAME all|increment COMPRESSION FOLDER";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words)
    {
        if (words.Count < 4 || words[1] is not (Increment or All) || !Enum.TryParse(words[2], out SnapshotCompression compression) || !Enum.IsDefined(compression))
            return null;
        string name = words[0], folder = string.Join(' ', words.Skip(3));
        if (!Path.IsPathFullyQualified(folder))
            return null;
        var options = new SnapshotTakeOptions { Incremental = words[1] == Increment, Compression = compression };
        return new ControlAnswer(json =>
        {
            var taken = target.Machine.TakeSnapshot(SnapshotStore.Open(folder), name, options);
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
