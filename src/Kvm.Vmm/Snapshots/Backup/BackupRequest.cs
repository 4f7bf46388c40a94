using Kvm.Vmm.Control;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>
/// <c>backup NAME disks|memory COMPRESSION [key=BASE64] FOLDER</c>: backs the guest's disks up into the store in FOLDER, and with <c>memory</c> its state too. Answered
/// when the backup is in the store, by <c>name</c>, <c>identity</c>, <c>downtimeMs</c>, <c>readBytes</c> (of the disks) and <c>storedBytes</c>.
/// </summary>
internal sealed class BackupRequest : IControlRequest
{
    public const string Disks = "disks", Memory = "memory";

    public string Name => "backup";

    public string Form => $"backup NAME disks|memory {StoreWords.Form}";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words)
    {
        if (words.Count < 4 || words[1] is not (Disks or Memory) || StoreWords.Read(words.Skip(2)) is not var (store, compression))
            return null;
        return new ControlAnswer(json =>
        {
            var options = new SnapshotTakeOptions { Compression = compression, Threads = Math.Max(1, Math.Min(4, Environment.ProcessorCount)) };
            var taken = target.Machine.TakeBackup(store, words[0], options, words[1] == Memory);
            json.WriteString("name", taken.Name);
            json.WriteString("identity", taken.Identity);
            json.WriteNumber("downtimeMs", Math.Round(taken.Downtime.TotalMilliseconds, 3));
            json.WriteNumber("readBytes", taken.DiskBytes);
            json.WriteNumber("storedBytes", taken.StoredBytes);
        });
    }
}
