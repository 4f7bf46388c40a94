using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;
using Kvm.Tests.Support;
using Kvm.Vmm.Network;

namespace Kvm.Vmm.Tests.Network;

/// <summary>Frames over a Unix stream socket, whose other end is the test and may say anything.</summary>
public sealed class StreamBackendTests
{
    private sealed class Listener : INetworkListener
    {
        public int Room { get; private set; }

        public List<bool> Links { get; } = [];

        public void FramesWaiting(int pair)
        {
        }

        public void RoomAgain(int pair) => Room++;

        public void LinkChanged(bool up) => Links.Add(up);
    }

    private sealed class Cable : IDisposable
    {
        public Cable()
        {
            (var own, Peer) = UnixSocket.Pair();
            Backend = new StreamBackend(own);
            Backend.Connect(Listener);
        }

        public StreamBackend Backend { get; }

        public UnixSocket Peer { get; }

        public Listener Listener { get; } = new();

        public static byte[] Frame(int number, int length) => [.. Enumerable.Range(0, length).Select(i => (byte)(number * 31 + i * 7 + i / 256))];

        public static byte[] Behind(byte[] frame)
        {
            byte[] all = new byte[4 + frame.Length];
            BinaryPrimitives.WriteInt32BigEndian(all, frame.Length);
            frame.CopyTo(all, 4);
            return all;
        }

        public SendOutcome Send(byte[] frame)
        {
            using var buffer = new AlignedBuffer(NetHeader.Size + frame.Length);
            frame.CopyTo(buffer.Buffer.Span[NetHeader.Size..]);
            int head = Math.Min(buffer.Length, 40);
            return head == buffer.Length ? Backend.Send(0, [buffer.Buffer], buffer.Length) : Backend.Send(0, [buffer.Buffer.Slice(0, head), buffer.Buffer.Slice(head)], buffer.Length);
        }

        /// <summary>Takes the frame that is there, if there is one.</summary>
        public byte[]? Take()
        {
            var frame = Backend.Peek(0);
            if (frame.IsEmpty)
                return null;
            frame[..NetHeader.Size].ContainsAnyExcept((byte)0).Should().BeFalse("nothing is left undone");
            byte[] taken = frame[NetHeader.Size..].ToArray();
            Backend.Peek(0).SequenceEqual(frame).Should().BeTrue("it is there until it is taken");
            Backend.Take(0);
            return taken;
        }

        public void Dispose()
        {
            Backend.Dispose();
            Peer.Dispose();
        }
    }

    /// <summary>However the peer's bytes are cut, the frames are the same.</summary>
    [Fact]
    public void Frames_arrive_whole_and_in_order_however_they_were_cut() =>
        Prop.ForAll(Gen.Zip(Gen.Choose(14, 3000).Or(Gen.Constant(NetHeader.MaxFrame)), Gen.Choose(1, 70_000)).ListOf().Resize(40).ToArbitrary(), steps =>
        {
            using var cable = new Cable();
            byte[] all = [.. steps.SelectMany((s, i) => Cable.Behind(Cable.Frame(i, s.Item1)))];
            int sent = 0, got = 0;
            for (int i = 0; sent < all.Length || got < steps.Count; i++)
            {
                int cut = steps[i % steps.Count].Item2;
                if (sent < all.Length && cable.Peer.Send(all.AsSpan(sent, Math.Min(cut, all.Length - sent)), wait: false) is > 0 and var count)
                    sent += count;
                while (cable.Take() is { } frame)
                {
                    if (!frame.AsSpan().SequenceEqual(Cable.Frame(got, steps[got].Item1)))
                        return false;
                    got++;
                }

                if (sent == all.Length && got < steps.Count && i > 100_000)
                    return false;
            }

            return cable.Take() is null && cable.Listener.Links.Count == 0;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Peer_that_does_not_read_fills_the_cable_and_gets_every_byte_afterwards()
    {
        using var cable = new Cable();
        int sent = 0;
        while (cable.Send(Cable.Frame(sent, 9_000 + sent)) == SendOutcome.Sent)
            sent++;
        sent.Should().BeGreaterThan(3);
        cable.Listener.Room.Should().Be(0);
        var stream = new List<byte>();
        byte[] buffer = new byte[10_000];
        for (int empty = 0; empty < 2;)
        {
            int count = cable.Peer.Receive(buffer, out _, wait: false);
            stream.AddRange(buffer.AsSpan(0, Math.Max(0, count)));
            // What the card's thread does when the socket takes more.
            cable.Backend.Peek(0).IsEmpty.Should().BeTrue();
            empty = count > 0 ? 0 : empty + 1;
        }

        cable.Listener.Room.Should().BePositive();
        stream.Should().Equal(Enumerable.Range(0, sent).SelectMany(i => Cable.Behind(Cable.Frame(i, 9_000 + i))));
        cable.Send(Cable.Frame(0, 60)).Should().Be(SendOutcome.Sent);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(13u)]
    [InlineData(65_551u)]
    [InlineData(uint.MaxValue)]
    public void Length_that_cannot_be_is_the_end_of_the_cable(uint length)
    {
        using var cable = new Cable();
        byte[] bytes = new byte[200];
        Cable.Behind(Cable.Frame(1, 60)).CopyTo(bytes, 0);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(64), length);
        cable.Peer.Send(bytes);
        cable.Take().Should().Equal(Cable.Frame(1, 60));
        cable.Take().Should().BeNull();
        cable.Listener.Links.Should().Equal(false);
        cable.Send(Cable.Frame(2, 60)).Should().Be(SendOutcome.Dropped);
        cable.Take().Should().BeNull();
        cable.Listener.Links.Should().ContainSingle();
    }

    [Fact]
    public void Peer_that_hangs_up_is_a_cable_pulled_out()
    {
        using var cable = new Cable();
        cable.Peer.Send(Cable.Behind(Cable.Frame(1, 60)));
        cable.Peer.Send([0, 0]);
        cable.Peer.Dispose();
        cable.Take().Should().Equal(Cable.Frame(1, 60));
        cable.Take().Should().BeNull();
        cable.Listener.Links.Should().Equal(false);
        cable.Send(Cable.Frame(2, 60)).Should().Be(SendOutcome.Dropped);
    }

    [Fact]
    public void Socket_that_was_empty_is_read_again_when_somebody_was_told_of_it()
    {
        using var cable = new Cable();
        var wait = new Wait();
        cable.Backend.WatchBy(0, wait);
        wait.Added.Should().Be(1);
        cable.Peer.Send(Cable.Behind(Cable.Frame(1, 60)));
        cable.Take().Should().Equal(Cable.Frame(1, 60));
        cable.Peer.Send(Cable.Behind(Cable.Frame(2, 60)));
        cable.Take().Should().BeNull("nobody was told of it yet");
        wait.Edges++;
        cable.Take().Should().Equal(Cable.Frame(2, 60));
        cable.Peer.Dispose();
        wait.Edges++;
        cable.Take().Should().BeNull();
        cable.Listener.Links.Should().Equal(false);
    }

    [Fact]
    public void Room_is_waited_for_as_long_as_it_is_needed_and_no_longer()
    {
        using var cable = new Cable();
        var wait = new Wait();
        cable.Backend.WatchBy(0, wait);
        cable.Send(Cable.Frame(1, 1000)).Should().Be(SendOutcome.Sent);
        wait.Awaits.Should().BeNull("there was room");
        while (cable.Send(Cable.Frame(2, 60_000)) == SendOutcome.Sent)
        {
        }

        wait.Awaits.Should().BeTrue();
        byte[] room = new byte[1 << 20];
        while (cable.Peer.Receive(room, out _, wait: false) > 0)
            cable.Take().Should().BeNull();

        wait.Awaits.Should().BeFalse();
    }

    /// <summary>Whoever waits, without a thread.</summary>
    private sealed class Wait : IDescriptorWait
    {
        public int Added { get; private set; }

        public bool? Awaits { get; private set; }

        public int Edges { get; set; }

        public void Add(int fd) => Added++;

        public void AwaitRoom(int fd, bool wanted) => Awaits = wanted;
    }

    [Fact]
    public void Ten_thousand_frames_allocate_nothing()
    {
        using var cable = new Cable();
        using var buffer = new AlignedBuffer(NetHeader.Size + 1514);
        HostBuffer[] pieces = [buffer.Buffer.Slice(0, 140), buffer.Buffer.Slice(140)];
        byte[] incoming = Cable.Behind(Cable.Frame(1, 1514)), outgoing = new byte[4000];
        Allocation.Of(_ =>
        {
            cable.Backend.Send(0, pieces, buffer.Length);
            cable.Peer.Receive(outgoing, out FdHandle? _, wait: false);
            cable.Peer.Send(incoming);
            cable.Backend.Peek(0);
            cable.Backend.Take(0);
        }).Should().Be(0);
    }

    /// <summary>A program that says why it cannot and ends, one that ends without a word, and none.</summary>
    [Theory]
    [InlineData("#!/bin/sh\necho 'No routable interface' >&2\nexit 1\n", "passt could not start: 'No routable interface'")]
    [InlineData("#!/bin/sh\nexit 0\n", "passt could not start: 'it said nothing'")]
    [InlineData(null, "passt could not start: posix_spawn")]
    public void Passt_that_cannot_start_is_explained_and_leaves_nothing(string? script, string why)
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-passt").FullName;
        try
        {
            string program = Path.Combine(folder, "program");
            if (script is not null)
            {
                File.WriteAllText(program, script);
                File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }

            PasstBackend.TryStart(program, folder, new NetConfig { Kind = NetKind.User }, null, out string said).Should().BeNull();
            said.Should().StartWith(why);
            Directory.GetFiles(folder, "passt-*").Should().BeEmpty();
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
