using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

/// <summary>
/// Writes frames as pcapng (IETF draft-ietf-opsawg-pcapng), which Wireshark and tcpdump read: one section, an interface for each card, nanoseconds. What would go over
/// the bound is counted and left away. Safe from any thread; allocates nothing for a frame.
/// </summary>
public sealed class PcapngWriter : IDisposable
{
    private const uint SectionHeader = 0x0a0d_0d0a, InterfaceDescription = 1, EnhancedPacket = 6, ByteOrder = 0x1a2b_3c4d;
    private const ushort Ethernet = 1, NameOption = 2, ResolutionOption = 9, FlagsOption = 2;

    // An enhanced packet block around its data: 28 bytes before it; flags (8), the end of options (4) and the length again (4) behind it.
    private const int PacketHead = 28, PacketTail = 16;

    private readonly Lock _lock = new();
    private readonly Stream _file;
    private readonly long _most;
    private readonly TimeProvider _time;
    private readonly DateTimeOffset _start;
    private readonly long _startTimestamp;
    private readonly byte[] _head = new byte[PacketHead];
    private readonly byte[] _tail = new byte[PacketTail + 3];
    private long _length;
    private long _lost;
    private bool _broken;

    /// <summary>Begins a file.</summary>
    /// <param name="file">An empty file, this object's from now on.</param>
    /// <param name="most">Bytes it may have.</param>
    /// <param name="interfaces">The cards' names; a card is known by its place among them.</param>
    /// <param name="time">The clock.</param>
    public PcapngWriter(Stream file, long most, IEnumerable<string> interfaces, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(interfaces);
        ArgumentNullException.ThrowIfNull(time);
        (_file, _most, _time, _start, _startTimestamp) = (file, most, time, time.GetUtcNow(), time.GetTimestamp());
        Span<byte> section = stackalloc byte[28];
        BinaryPrimitives.WriteUInt32LittleEndian(section, SectionHeader);
        BinaryPrimitives.WriteInt32LittleEndian(section[4..], section.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(section[8..], ByteOrder);
        BinaryPrimitives.WriteUInt16LittleEndian(section[12..], 1);
        // The section's length is not known.
        BinaryPrimitives.WriteInt64LittleEndian(section[16..], -1);
        BinaryPrimitives.WriteInt32LittleEndian(section[24..], section.Length);
        Write(section);
        foreach (string name in interfaces)
            WriteInterface(Encoding.UTF8.GetBytes(name));
    }

    /// <summary>Frames that were left away: the file is as long as it may be, or the disk full.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>Adds a frame.</summary>
    /// <param name="card">The card's place.</param>
    /// <param name="outgoing">The guest sent it.</param>
    /// <param name="pieces">Header and frame; the header is not written.</param>
    /// <param name="length">Bytes of all pieces.</param>
    /// <returns>False if it was left away, for the first time.</returns>
    public bool Add(int card, bool outgoing, ReadOnlySpan<HostBuffer> pieces, int length)
    {
        lock (_lock)
        {
            int data = length - NetHeader.Size;
            if (!Begin(card, data))
                return _lost++ != 0;
            int skip = NetHeader.Size;
            foreach (ref readonly var piece in pieces)
            {
                int skipped = Math.Min(skip, piece.Length);
                skip -= skipped;
                Write(piece.Span[skipped..]);
            }

            End(outgoing, data);
            return true;
        }
    }

    /// <summary>Adds a frame that lies in one piece, header first.</summary>
    public bool Add(int card, bool outgoing, ReadOnlySpan<byte> frame)
    {
        lock (_lock)
        {
            int data = frame.Length - NetHeader.Size;
            if (!Begin(card, data))
                return _lost++ != 0;
            Write(frame[NetHeader.Size..]);
            End(outgoing, data);
            return true;
        }
    }

    /// <summary>Ends the file.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _broken = true;
            try
            {
                _file.Dispose();
            }
            catch (IOException)
            {
                // What is written is written.
            }
        }
    }

    private static int Padded(int length) => (length + 3) & ~3;

    private void WriteInterface(byte[] name)
    {
        int size = 16 + 4 + Padded(name.Length) + 8 + 4 + 4;
        byte[] block = new byte[size];
        BinaryPrimitives.WriteUInt32LittleEndian(block, InterfaceDescription);
        BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(4), size);
        BinaryPrimitives.WriteUInt16LittleEndian(block.AsSpan(8), Ethernet);
        int at = 16;
        BinaryPrimitives.WriteUInt16LittleEndian(block.AsSpan(at), NameOption);
        BinaryPrimitives.WriteUInt16LittleEndian(block.AsSpan(at + 2), (ushort)name.Length);
        name.CopyTo(block, at + 4);
        at += 4 + Padded(name.Length);
        // Units of 10 to the power of −9 seconds.
        BinaryPrimitives.WriteUInt16LittleEndian(block.AsSpan(at), ResolutionOption);
        BinaryPrimitives.WriteUInt16LittleEndian(block.AsSpan(at + 2), 1);
        block[at + 4] = 9;
        BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(size - 4), size);
        Write(block);
    }

    private bool Begin(int card, int data)
    {
        int size = PacketHead + Padded(data) + PacketTail;
        if (data < 0 || _broken || size > _most - _length)
            return false;
        ulong nanoseconds = (ulong)((_start - DateTimeOffset.UnixEpoch).Ticks + _time.GetElapsedTime(_startTimestamp).Ticks) * 100;
        BinaryPrimitives.WriteUInt32LittleEndian(_head, EnhancedPacket);
        BinaryPrimitives.WriteInt32LittleEndian(_head.AsSpan(4), size);
        BinaryPrimitives.WriteInt32LittleEndian(_head.AsSpan(8), card);
        BinaryPrimitives.WriteUInt32LittleEndian(_head.AsSpan(12), (uint)(nanoseconds >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(_head.AsSpan(16), (uint)(nanoseconds & uint.MaxValue));
        BinaryPrimitives.WriteInt32LittleEndian(_head.AsSpan(20), data);
        BinaryPrimitives.WriteInt32LittleEndian(_head.AsSpan(24), data);
        Write(_head);
        return true;
    }

    private void End(bool outgoing, int data)
    {
        int padding = Padded(data) - data;
        var tail = _tail.AsSpan(0, padding + PacketTail);
        tail.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(tail[padding..], FlagsOption);
        BinaryPrimitives.WriteUInt16LittleEndian(tail[(padding + 2)..], 4);
        // Inbound is 1, outbound 2, as the guest sees it.
        tail[padding + 4] = outgoing ? (byte)2 : (byte)1;
        BinaryPrimitives.WriteInt32LittleEndian(tail[^4..], PacketHead + Padded(data) + PacketTail);
        Write(tail);
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (_broken)
            return;
        try
        {
            _file.Write(bytes);
            _length += bytes.Length;
        }
        catch (IOException)
        {
            _broken = true;
        }
    }
}
