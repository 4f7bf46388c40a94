using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>A refcount table that is too small is replaced by a larger one.</summary>
internal sealed partial class Refcounts
{
    /// <summary>
    /// Makes the table larger: blocks and the new table stand where the old one's counts end, and the header points to them when they are durable.
    /// </summary>
    private DiskResult GrowTable()
    {
        ulong oldLength = (ulong)_table.Length, first = oldLength << _blockBits;
        int most = Qcow2Format.MaxRefcountTableBytes >> _clusterBits, clusters = Math.Min(_tableClusters + (_tableClusters / 2) + 1, most), blocks = 1;
        while ((ulong)(blocks + clusters) > (ulong)blocks << _blockBits)
            blocks++;
        ulong length = (ulong)clusters << (_clusterBits - 3);
        if (clusters <= _tableClusters || length < oldLength + (ulong)blocks || first + (ulong)(blocks + clusters) > MostClusters)
            return DiskResult.NoSpace;
        for (int i = 0; i < blocks + clusters; i++)
        {
            if (Tables.Contains(first + (ulong)i))
                return DiskResult.Failed;
        }

        ulong start = first << _clusterBits, bytes = (ulong)(blocks + clusters) << _clusterBits;
        _cache.Forget(start, bytes);
        var result = _file.Clear(start, bytes);
        if (result != DiskResult.Done)
            return result;
        var (oldTable, oldOffset, oldClusters) = (_table, _tableOffset, _tableClusters);
        Array.Resize(ref _table, (int)length);
        for (int i = 0; i < blocks; i++)
            _table[oldLength + (ulong)i] = (first + (ulong)i) << _clusterBits;
        (_tableOffset, _tableClusters) = ((first + (ulong)blocks) << _clusterBits, clusters);
        result = TakeAll(first, blocks + clusters);
        if (result == DiskResult.Done)
            result = WriteNewTable();
        if (result != DiskResult.Done)
        {
            (_table, _tableOffset, _tableClusters) = (oldTable, oldOffset, oldClusters);
            _cache.Forget(start, bytes);
            return result;
        }

        (_changedFrom, _changedTo) = (int.MaxValue, 0);
        for (int i = 0; i < blocks + clusters; i++)
            Tables.Add(first + (ulong)i);
        for (int i = 0; i < oldClusters; i++)
        {
            ulong old = (oldOffset >> _clusterBits) + (ulong)i;
            Tables.Remove(old);
            Decrease(old, out _);
        }

        return DiskResult.Done;
    }

    /// <summary>Where the table is, and how many clusters it has.</summary>
    public (ulong Offset, int Clusters) Table => (_tableOffset, _tableClusters);

    /// <summary>Where the blocks are.</summary>
    public IEnumerable<ulong> Blocks => _table.Where(offset => offset != 0);

    private DiskResult WriteNewTable()
    {
        var result = _cache.WriteChanges();
        if (result == DiskResult.Done)
            result = TableWriter.Write(_file, _tableOffset, _table, 0, _table.Length);
        if (result == DiskResult.Done)
            result = _file.Flush();
        Span<byte> place = stackalloc byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(place, _tableOffset);
        BinaryPrimitives.WriteInt32BigEndian(place[8..], _tableClusters);
        if (result == DiskResult.Done)
            result = TableWriter.Write(_file, Qcow2Format.RefcountTableAt, place);
        return result == DiskResult.Done ? _file.Flush() : result;
    }
}

/// <summary>Reads and writes tables of 64-bit numbers and small things.</summary>
internal static class TableWriter
{
    private const int Piece = 64 << 10;

    /// <summary>Writes part of a table.</summary>
    public static DiskResult Write(ClusterFile file, ulong offset, ulong[] table, int from, int to)
    {
        using var buffer = new AlignedBuffer(Math.Min(Piece, (to - from) * sizeof(ulong)));
        for (int at = from; at < to;)
        {
            int count = Math.Min(buffer.Length / sizeof(ulong), to - at);
            var bytes = buffer.Buffer.Slice(0, count * sizeof(ulong));
            for (int i = 0; i < count; i++)
                BinaryPrimitives.WriteUInt64BigEndian(bytes.Span[(i * sizeof(ulong))..], table[at + i]);
            var result = file.Write(offset + ((ulong)at * sizeof(ulong)), bytes);
            if (result != DiskResult.Done)
                return result;
            at += count;
        }

        return DiskResult.Done;
    }

    /// <summary>Writes a few bytes.</summary>
    public static DiskResult Write(ClusterFile file, ulong offset, ReadOnlySpan<byte> bytes)
    {
        using var buffer = new AlignedBuffer(bytes.Length);
        bytes.CopyTo(buffer.Buffer.Span);
        return file.Write(offset, buffer.Buffer);
    }

    /// <summary>Reads a table, or returns null if the host cannot.</summary>
    public static ulong[]? Read(ClusterFile file, ulong offset, int entries)
    {
        ulong[] table = new ulong[entries];
        using var buffer = new AlignedBuffer(Math.Clamp(entries * sizeof(ulong), sizeof(ulong), Piece));
        for (int at = 0; at < entries;)
        {
            int count = Math.Min(buffer.Length / sizeof(ulong), entries - at);
            var bytes = buffer.Buffer.Slice(0, count * sizeof(ulong));
            if (file.Read(offset + ((ulong)at * sizeof(ulong)), bytes) != DiskResult.Done)
                return null;
            for (int i = 0; i < count; i++)
                table[at++] = BinaryPrimitives.ReadUInt64BigEndian(bytes.Span[(i * sizeof(ulong))..]);
        }

        return table;
    }

    /// <summary>Reads bytes, or returns null if the host cannot. What lies behind the end reads as zeros.</summary>
    public static byte[]? ReadBytes(ClusterFile file, ulong offset, int count)
    {
        using var buffer = new AlignedBuffer(Math.Max(count, 1));
        var bytes = buffer.Buffer.Slice(0, count);
        return count == 0 || file.Read(offset, bytes) == DiskResult.Done ? bytes.Span.ToArray() : null;
    }
}
