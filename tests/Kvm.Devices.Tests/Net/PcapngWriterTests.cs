using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Net;

/// <summary>The file, read back as draft-ietf-opsawg-pcapng describes it.</summary>
public sealed class PcapngWriterTests
{
    private sealed record Packet(int Card, ulong Time, byte[] Data, uint Flags);

    /// <summary>A full disk.</summary>
    private sealed class FullStream(int room) : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (Length + buffer.Length > room)
                throw new IOException("full");
            base.Write(buffer);
        }
    }

    private readonly ManualTime _time = new();

    private static byte[] Frame(int length) => [.. new byte[NetHeader.Size], .. Enumerable.Range(0, length).Select(i => (byte)i)];

    /// <summary>Reads all blocks: each says its length at both ends.</summary>
    private static (List<string> Interfaces, List<Packet> Packets) Read(byte[] file)
    {
        var interfaces = new List<string>();
        var packets = new List<Packet>();
        for (int at = 0; at < file.Length;)
        {
            var block = file.AsSpan(at);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(block);
            int size = BinaryPrimitives.ReadInt32LittleEndian(block[4..]);
            (size % 4).Should().Be(0);
            BinaryPrimitives.ReadInt32LittleEndian(block[(size - 4)..]).Should().Be(size);
            if (at == 0)
            {
                (type, BinaryPrimitives.ReadUInt32LittleEndian(block[8..]), block[12], block[14]).Should().Be((0x0a0d0d0au, 0x1a2b3c4du, (byte)1, (byte)0));
            }
            else if (type == 1)
            {
                BinaryPrimitives.ReadUInt16LittleEndian(block[8..]).Should().Be(1, "Ethernet");
                int name = BinaryPrimitives.ReadUInt16LittleEndian(block[18..]);
                interfaces.Add(Encoding.UTF8.GetString(block.Slice(20, name)));
                block[20 + (name + 3 & ~3) + 4].Should().Be(9, "nanoseconds");
            }
            else
            {
                type.Should().Be(6);
                int length = BinaryPrimitives.ReadInt32LittleEndian(block[20..]);
                BinaryPrimitives.ReadInt32LittleEndian(block[24..]).Should().Be(length);
                var options = block[(28 + (length + 3 & ~3))..(size - 4)];
                (BinaryPrimitives.ReadUInt16LittleEndian(options), BinaryPrimitives.ReadUInt16LittleEndian(options[2..]), options.Length).Should().Be(((ushort)2, (ushort)4, 12));
                ulong time = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(block[12..]) << 32 | BinaryPrimitives.ReadUInt32LittleEndian(block[16..]);
                packets.Add(new Packet(BinaryPrimitives.ReadInt32LittleEndian(block[8..]), time, block.Slice(28, length).ToArray(), BinaryPrimitives.ReadUInt32LittleEndian(options[4..])));
            }

            at += size;
        }

        return (interfaces, packets);
    }

    [Fact]
    public void Frames_are_there_with_card_time_and_direction_whatever_their_length()
    {
        using var file = new MemoryStream();
        using var writer = new PcapngWriter(file, 1 << 20, ["net0", "a card"], _time);
        using var buffer = new AlignedBuffer(NetHeader.Size + 61);
        Frame(61).CopyTo(buffer.Buffer.Span);
        writer.Add(1, outgoing: true, [buffer.Buffer.Slice(0, 5), buffer.Buffer.Slice(5, 20), buffer.Buffer.Slice(25)], buffer.Length).Should().BeTrue();
        _time.Advance(TimeSpan.FromMilliseconds(3));
        for (int length = 14; length < 18; length++)
            writer.Add(0, outgoing: false, Frame(length)).Should().BeTrue();
        var (interfaces, packets) = Read(file.ToArray());
        interfaces.Should().Equal("net0", "a card");
        ulong start = (ulong)(new DateTimeOffset(2024, 2, 28, 23, 59, 57, TimeSpan.Zero) - DateTimeOffset.UnixEpoch).Ticks * 100;
        (packets[0].Card, packets[0].Time, packets[0].Flags).Should().Be((1, start, 2u));
        packets[0].Data.Should().Equal(Frame(61)[NetHeader.Size..]);
        packets[1..].Select(p => (p.Card, p.Time, p.Flags, p.Data.Length)).Should().Equal(Enumerable.Range(14, 4).Select(l => (0, start + 3_000_000, 1u, l)));
    }

    [Fact]
    public void File_stays_within_its_bound_and_the_loss_is_told_once_and_counted()
    {
        using var file = new MemoryStream();
        using var writer = new PcapngWriter(file, 1024, ["net0"], _time);
        int told = 0;
        for (int i = 0; i < 100; i++)
            told += writer.Add(0, outgoing: false, Frame(60)) ? 0 : 1;
        file.Length.Should().BeLessThanOrEqualTo(1024);
        var (_, packets) = Read(file.ToArray());
        (packets.Count + writer.Lost, told).Should().Be((100, 1));
        packets.Should().NotBeEmpty();
    }

    [Fact]
    public void Full_disk_loses_frames_and_throws_nothing()
    {
        using var file = new FullStream(400);
        using var writer = new PcapngWriter(file, 1 << 20, ["net0"], _time);
        for (int i = 0; i < 20; i++)
            writer.Add(0, outgoing: false, Frame(60));
        writer.Lost.Should().BePositive();
        writer.Dispose();
        writer.Add(0, outgoing: false, Frame(60));
    }

    [Fact]
    public void Ten_thousand_frames_allocate_nothing()
    {
        using var writer = new PcapngWriter(Stream.Null, long.MaxValue, ["net0"], _time);
        byte[] frame = Frame(1514);
        Allocation.Of(_ => writer.Add(0, outgoing: false, frame)).Should().Be(0);
    }
}
