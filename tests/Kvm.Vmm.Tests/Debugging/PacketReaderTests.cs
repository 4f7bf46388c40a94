using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Debugging.Gdb;

namespace Kvm.Vmm.Tests.Debugging;

/// <summary>Packets of gdb's protocol in streams of bytes, right, broken and hostile.</summary>
public class PacketReaderTests
{
    [Theory]
    [InlineData("$g#67", "Packet:g")]
    [InlineData("+$g#67", "Ack,Packet:g")]
    [InlineData("-", "Nak")]
    [InlineData("\u0003", "Interrupt")]
    [InlineData("$g#68", "Corrupt")]
    [InlineData("$g#6z", "Corrupt")]
    [InlineData("$#00", "Packet:")]
    [InlineData("noise$OK#9a", "Packet:OK")]
    [InlineData("$lost$OK#9a", "Packet:OK")]
    [InlineData("$m0,4#fd$?#3f", "Packet:m0,4,Packet:?")]
    [InlineData("$X}\u0003#d8", "Packet:X#")]
    [InlineData("$half", "")]
    public void A_stream_gives_its_events(string stream, string expected) =>
        string.Join(',', Events(new PacketReader(), Encoding.Latin1.GetBytes(stream))).Should().Be(expected);

    [Fact]
    public void What_the_writer_frames_the_reader_gives_back_however_it_is_cut()
    {
        var property = Prop.ForAll(ArbMap.Default.ArbFor<byte[]>(), ArbMap.Default.ArbFor<byte>(), (content, cut) =>
        {
            var writer = new PacketWriter();
            byte[] frame = writer.Begin().Binary(content).Frame().ToArray();
            int at = cut % (frame.Length + 1);
            var reader = new PacketReader();
            List<string> events = [.. Events(reader, frame.AsSpan(0, at)), .. Events(reader, frame.AsSpan(at))];
            return events.Count == 1 && reader.Content.SequenceEqual(content);
        });
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), property);
    }

    [Fact]
    public void Noise_never_throws_and_a_packet_behind_it_is_found()
    {
        var property = Prop.ForAll(ArbMap.Default.ArbFor<byte[]>(), noise =>
        {
            var reader = new PacketReader();
            Events(reader, noise);
            // Whatever state the noise left, a checksum ends it at the latest.
            var events = Events(reader, "#00$OK#9a"u8);
            return events.Count > 0 && events[^1] == "Packet:OK";
        });
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), property);
    }

    [Fact]
    public void A_packet_of_a_megabyte_is_taken_and_a_longer_one_is_dropped()
    {
        var reader = new PacketReader();
        byte[] content = new byte[PacketReader.MostBytes];
        content.AsSpan().Fill((byte)'a');
        Events(reader, new PacketWriter().Begin().Binary(content).Frame().Span).Should().ContainSingle().Which.Should().StartWith("Packet:");
        Events(reader, new PacketWriter().Begin().Binary([.. content, 1]).Frame().Span).Should().Equal("TooLong");
        Events(reader, "$OK#9a"u8).Should().Equal("Packet:OK");
    }

    private static List<string> Events(PacketReader reader, ReadOnlySpan<byte> bytes)
    {
        var events = new List<string>();
        while (true)
        {
            var next = reader.Next(ref bytes);
            if (next == PacketEvent.None)
                return events;
            events.Add(next == PacketEvent.Packet ? $"Packet:{Encoding.Latin1.GetString(reader.Content)}" : next.ToString());
        }
    }
}
