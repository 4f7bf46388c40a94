using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>What a machine is, as far as a state fits only the same, and its devices, to and from records.</summary>
internal static class StateRecords
{
    private const string Machine = "machine";
    private const ushort MachineVersion = 1;
    private const int MostCommandLine = 64 << 10, MostRanges = 16;

    /// <summary>Writes what the machine is.</summary>
    public static SnapshotRecord WriteMachine(VmConfig config, GuestMemory memory, string commandLine)
    {
        var writer = new StateWriter();
        writer.U16((ushort)config.Cpus);
        writer.U8((byte)config.Virtio);
        var ranges = RamOf(memory);
        writer.U16((ushort)ranges.Count);
        foreach (var range in ranges)
        {
            writer.U64(range.Start);
            writer.U64(range.Size);
        }

        writer.Bytes(System.Text.Encoding.UTF8.GetBytes(commandLine));
        return new SnapshotRecord(Machine, MachineVersion, writer.Written.ToArray());
    }

    /// <summary>Reads what the machine was; gives the kernel's command line.</summary>
    public static string ReadMachine(RecordSet records, VmConfig config, RestoreReport report)
    {
        string commandLine = "";
        records.TryRead(Machine, MachineVersion, report, (ref StateReader reader, ushort _) =>
        {
            int cpus = reader.U16();
            var virtio = (Kvm.Vmm.Virtio.VirtioTransport)reader.U8();
            int count = reader.U16();
            if (count > MostRanges)
                return false;
            var ranges = new AddressRange[count];
            for (int i = 0; i < count; i++)
                ranges[i] = new AddressRange(reader.U64(), reader.U64());
            commandLine = System.Text.Encoding.UTF8.GetString(reader.Bytes(MostCommandLine));
            if (!reader.Complete)
                return false;
            if (cpus != config.Cpus)
                report.Lacks($"{cpus} vCPUs, not {config.Cpus}");
            if (virtio != config.Virtio)
                report.Lacks($"virtio over {virtio}, not {config.Virtio}");
            if (!ranges.AsSpan().SequenceEqual(new MachineLayout(config.MemoryBytes).Ram))
                report.Lacks(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{ranges.Aggregate(0UL, (sum, r) => unchecked(sum + r.Size)) >> 20} MiB of memory, not {config.MemoryBytes >> 20}"));
            return true;
        });
        return commandLine;
    }

    /// <summary>Ranges of memory that a guest can write.</summary>
    public static List<GuestRegion> RamOf(GuestMemory memory)
    {
        List<GuestRegion> ranges = [];
        foreach (ref readonly var region in memory.Regions)
        {
            if (!region.ReadOnly)
                ranges.Add(region);
        }

        return ranges;
    }

    /// <summary>Writes a device.</summary>
    public static SnapshotRecord Write(IStateful part)
    {
        var writer = new StateWriter();
        part.Save(writer);
        return new SnapshotRecord(part.StateName, part.StateVersion, writer.Written.ToArray());
    }

    /// <summary>Reads devices; what stands in the way is in the report.</summary>
    public static void Read(RecordSet records, IReadOnlyList<IStateful> parts, RestoreReport report)
    {
        foreach (var part in parts)
            records.TryRead(part.StateName, part.StateVersion, report, (ref StateReader reader, ushort version) => part.TryRestore(ref reader, version));
    }
}
