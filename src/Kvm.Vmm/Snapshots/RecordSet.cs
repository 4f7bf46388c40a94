using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>Reads a record to its end; false if it is none.</summary>
internal delegate bool RecordReader(ref StateReader reader, ushort version);

/// <summary>The records of a snapshot by name, each of which is to be taken once.</summary>
internal sealed class RecordSet
{
    private readonly Dictionary<string, SnapshotRecord> _left = new(StringComparer.Ordinal);

    public RecordSet(IEnumerable<SnapshotRecord> records, RestoreReport report)
    {
        foreach (var record in records)
        {
            if (!_left.TryAdd(record.Name, record))
                report.IsDamaged($"two records are called {record.Name}");
        }
    }

    /// <summary>Names of those that nobody has taken.</summary>
    public IEnumerable<string> Left => _left.Keys.Order(StringComparer.Ordinal);

    /// <summary>Takes a record; null, and that in the report, if it is not there or of a later version.</summary>
    public SnapshotRecord? Take(string name, ushort version, RestoreReport report)
    {
        if (!_left.Remove(name, out var record))
        {
            report.Lacks($"the state of {name}");
            return null;
        }

        if (record.Version <= version)
            return record;
        throw new VmmException(RestoreErrors.LaterState, $"{name}: version {record.Version}, known up to {version}");
    }

    /// <summary>Takes and reads a record; false, and why in the report, if it is not there or not good.</summary>
    public bool TryRead(string name, ushort version, RestoreReport report, RecordReader read)
    {
        if (Take(name, version, report) is not { } record)
            return false;
        var reader = new StateReader(record.Bytes.Span);
        if (record.Version != 0 && read(ref reader, record.Version))
            return true;
        report.IsDamaged($"the record of {name} is not one");
        return false;
    }
}
