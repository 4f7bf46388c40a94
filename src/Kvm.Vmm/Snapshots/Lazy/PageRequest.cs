using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Snapshot;
using Kvm.Interop;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Lazy;

/// <summary>Memory of the machine's process that a region of a snapshot belongs in.</summary>
/// <param name="Region">Number of the region.</param>
/// <param name="Address">Where it begins there.</param>
internal readonly record struct PagedRegion(int Region, ulong Address);

/// <summary>What a machine's process asks of a pager: which snapshot, and where its pages go.</summary>
/// <param name="Name">The snapshot's name.</param>
/// <param name="Identity">Its identity: another one of that name is not the same.</param>
/// <param name="Origin">Where it is opened.</param>
/// <param name="Regions">What is to be filled.</param>
internal sealed record PageRequest(string Name, string Identity, SnapshotOrigin Origin, IReadOnlyList<PagedRegion> Regions)
{
    private const ushort Version = 1;
    private const int MostBytes = 64 << 10, MostName = 4096, LengthSize = 4;

    /// <summary>Sends it, and with it the descriptor by which pages are filled. Returns 0 or -errno.</summary>
    public int Send(UnixSocket line, UserFault faults)
    {
        var writer = new StateWriter();
        writer.U16(Version);
        foreach (string text in (ReadOnlySpan<string>)[Name, Identity, Origin.Path])
            writer.Bytes(Encoding.UTF8.GetBytes(text));
        writer.Bool(Origin.IsFile);
        writer.Bytes(Origin.Key is { } key ? key.Master : []);
        writer.U16((ushort)Regions.Count);
        foreach (var region in Regions)
        {
            writer.U16((ushort)region.Region);
            writer.U64(region.Address);
        }

        byte[] message = new byte[LengthSize + writer.Written.Length];
        BinaryPrimitives.WriteInt32LittleEndian(message, writer.Written.Length);
        writer.Written.CopyTo(message.AsSpan(LengthSize));
        var descriptor = faults.Handle;
        for (int sent = 0; sent < message.Length; descriptor = null)
        {
            int count = line.Send(message.AsSpan(sent), descriptor);
            if (count < 0)
                return count;
            sent += count;
        }

        return 0;
    }

    /// <summary>Receives one; null where what came is none, or nobody is there any more.</summary>
    public static (PageRequest Request, UserFault Faults)? Receive(UnixSocket line)
    {
        byte[] head = new byte[LengthSize];
        FdHandle? descriptor = null;
        if (TryFill(line, head, ref descriptor) && BinaryPrimitives.ReadInt32LittleEndian(head) is > 0 and <= MostBytes and var length)
        {
            byte[] body = new byte[length];
            if (TryFill(line, body, ref descriptor) && descriptor is not null && Read(body) is { } request)
                return (request, new UserFault(descriptor));
        }

        descriptor?.Dispose();
        return null;
    }

    private static PageRequest? Read(byte[] body)
    {
        var reader = new StateReader(body);
        if (reader.U16() != Version)
            return null;
        string name = Encoding.UTF8.GetString(reader.Bytes(MostName)), identity = Encoding.UTF8.GetString(reader.Bytes(MostName)), path = Encoding.UTF8.GetString(reader.Bytes(MostName));
        bool isFile = reader.Bool();
        var origin = new SnapshotOrigin(path, isFile, SnapshotKey.FromMaster(reader.Bytes(MostName)));
        int count = reader.U16();
        if (count > SnapshotFormat.MostRegions)
            return null;
        var regions = new PagedRegion[count];
        for (int i = 0; i < count; i++)
            regions[i] = new PagedRegion(reader.U16(), reader.U64());
        return reader.Complete ? new PageRequest(name, identity, origin, regions) : null;
    }

    private static bool TryFill(UnixSocket line, Span<byte> buffer, ref FdHandle? descriptor)
    {
        while (!buffer.IsEmpty)
        {
            int count = line.Receive(buffer, out var came);
            if (came is not null)
            {
                descriptor?.Dispose();
                descriptor = came;
            }

            if (count <= 0)
                return false;
            buffer = buffer[count..];
        }

        return true;
    }
}
