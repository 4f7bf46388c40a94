using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Compares counts and flags with what was counted, and mends them in place: nothing is allocated by a repair.</summary>
public sealed partial class Qcow2Check
{
    private ulong Largest => _header.RefcountOrder == 6 ? ulong.MaxValue : (1UL << (1 << _header.RefcountOrder)) - 1;

    private void Compare(Qcow2Repair repair)
    {
        ulong[] table = Table(_header.RefcountTableOffset, _header.RefcountTableClusters << (_header.ClusterBits - 3), "refcount table");
        ulong perBlock = (ulong)_header.ClusterSize * 8 >> _header.RefcountOrder;
        using var buffer = new AlignedBuffer(_header.ClusterSize);
        for (int block = 0; block < table.Length; block++)
        {
            _cancellation.ThrowIfCancellationRequested();
            ulong first = (ulong)block * perBlock;
            if (table[block] == 0 || (table[block] & ~Qcow2Format.OffsetMask) != 0 || table[block] % (ulong)_header.ClusterSize != 0 || table[block] >= _end)
            {
                MissingBlock(first, first + perBlock);
                continue;
            }

            Host(_file.Read(table[block], buffer.Buffer), "read a refcount block");
            if (CompareBlock(buffer.Buffer.Span, first, (int)perBlock, repair))
                Host(_file.Write(table[block], buffer.Buffer), "write a refcount block");
        }

        MissingBlock((ulong)table.Length * perBlock, ulong.MaxValue);
        if (_leaksFixed + _corruptionsFixed > 0)
            Host(_file.Flush(), "write refcount blocks");
    }

    private void MissingBlock(ulong from, ulong to)
    {
        for (ulong cluster = from; cluster < Math.Min(to, _counter.End); cluster++)
        {
            if (_counter[cluster] > 0)
                Corrupt($"cluster {cluster} is referred to {_counter[cluster]} times and not counted");
        }
    }

    /// <summary>True if the block was changed.</summary>
    private bool CompareBlock(Span<byte> block, ulong first, int clusters, Qcow2Repair repair)
    {
        bool changed = false;
        for (int i = 0; i < clusters; i++)
        {
            ulong said = Refcounts.Read(block, i, _header.RefcountOrder), counted = _counter[first + (ulong)i];
            if (said == counted)
                continue;
            bool isLeak = said > counted, mends = repair == Qcow2Repair.All || (isLeak && repair == Qcow2Repair.Leaks);
            if (isLeak)
            {
                _leaks++;
                Say($"cluster {first + (ulong)i} leaks: counted {said} times, referred to {counted} times");
            }
            else
            {
                Corrupt($"cluster {first + (ulong)i} is counted {said} times and referred to {counted} times");
            }

            if (!mends || counted > Largest)
                continue;
            Refcounts.Write(block, i, counted, _header.RefcountOrder);
            changed = true;
            if (isLeak)
                _leaksFixed++;
            else
                _corruptionsFixed++;
        }

        return changed;
    }

    /// <summary>An entry says that its cluster is referred to once (COPIED) exactly if it is: else a write in place changes what others see.</summary>
    private void CheckFlags(Qcow2Repair repair)
    {
        ulong[] l1 = Table(_header.L1Offset, _header.L1Entries, "L1 table");
        var seen = new HashSet<ulong>();
        for (int i = 0; i < l1.Length; i++)
        {
            _cancellation.ThrowIfCancellationRequested();
            ulong table = l1[i] & ~Qcow2Format.Copied;
            if (table == 0 || (table & ~Qcow2Format.OffsetMask) != 0 || table % (ulong)_header.ClusterSize != 0 || table >= _end || !seen.Add(table))
                continue;
            CheckFlag(ref l1[i], table, _header.L1Offset + ((ulong)i * sizeof(ulong)), repair);
            ulong[] l2 = Table(table, _header.L2Entries, "L2 table");
            for (int j = 0; j < l2.Length; j++)
            {
                if (_format.KindOf(l2[j], _end) is ClusterKind.Data or ClusterKind.ZeroAllocated)
                    CheckFlag(ref l2[j], l2[j] & Qcow2Format.OffsetMask, table + ((ulong)j * sizeof(ulong)), repair);
            }
        }
    }

    private void CheckFlag(ref ulong entry, ulong offset, ulong at, Qcow2Repair repair)
    {
        bool once = _counter[offset >> _header.ClusterBits] == 1;
        if (once == ((entry & Qcow2Format.Copied) != 0))
            return;
        Corrupt($"the entry at offset {at} says that it is {(once ? "not " : "")}the only reference to its cluster");
        if (repair != Qcow2Repair.All)
            return;
        entry ^= Qcow2Format.Copied;
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, entry);
        Host(TableWriter.Write(_file, at, bytes), "write a table");
        _corruptionsFixed++;
    }

    /// <summary>Takes the marks of a dirty and a corrupt image away when all is mended and durable.</summary>
    private void Finish(Qcow2Repair repair)
    {
        if (repair == Qcow2Repair.None)
            return;
        Host(_file.Flush(), "write the tables");
        if (repair != Qcow2Repair.All || _corruptions != _corruptionsFixed || !(_header.IsDirty || _header.IsCorrupt) || _header.Version < 3)
            return;
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, _header.Incompatible & ~(Qcow2Format.Dirty | Qcow2Format.Corrupt));
        Host(TableWriter.Write(_file, Qcow2Format.FeaturesAt, bytes), "write the header");
        Host(_file.Flush(), "write the header");
    }

    private static void Host(DiskResult result, string what)
    {
        if (result != DiskResult.Done)
            throw Qcow2Exception.Host(what);
    }
}
