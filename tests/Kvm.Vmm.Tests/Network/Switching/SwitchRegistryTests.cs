using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Tests.Virtio.Net;
using Kvm.Devices.Virtio.Net;
using Kvm.Interop;
using Kvm.Tests.Support;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Switching;

/// <summary>Cards on a switch, in one process and in several, which are as many registries here: their locks and sockets are as between processes.</summary>
public sealed class SwitchRegistryTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-switch").FullName;
    private readonly List<SwitchCard> _cards = [];

    public void Dispose()
    {
        foreach (var card in _cards)
            card.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private SwitchRegistry Process() => new(_folder);

    private SwitchCard Card(SwitchRegistry process, int number, string settings = "", string name = "s")
    {
        var card = SwitchCard.Join(process, name, number, settings);
        _cards.Add(card);
        return card;
    }

    /// <summary>Ends a card, as its guest's end does.</summary>
    private void End(SwitchCard card)
    {
        _cards.Remove(card);
        card.Dispose();
    }

    private string SocketPath(string name = "s") => Path.Combine(_folder, $"switch-{name}.sock");

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Cards_reach_each_other_in_however_many_processes_they_are(int processes)
    {
        var all = Enumerable.Range(0, processes).Select(_ => Process()).ToList();
        var cards = Enumerable.Range(0, 3).Select(i => Card(all[i % processes], i + 1)).ToList();
        foreach (var from in cards)
        {
            from.Send(0, $"hello of {from.Number}").Should().Be(SendOutcome.Sent);
            foreach (var to in cards.Where(c => c != from))
                to.Receive().Should().Be($"hello of {from.Number}");
        }

        foreach (var from in cards)
        {
            foreach (var to in cards.Where(c => c != from))
            {
                from.Send(to.Number, $"{from.Number} to {to.Number}");
                to.Receive().Should().Be($"{from.Number} to {to.Number}");
            }
        }

        cards.Should().OnlyContain(c => c.Take() == null);
        (File.GetUnixFileMode(SocketPath()) & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite)).Should().Be(UnixFileMode.None);
    }

    [Fact]
    public void Switches_of_other_names_are_other_switches()
    {
        var process = Process();
        var (a, b, c) = (Card(process, 1), Card(process, 2, name: "other"), Card(Process(), 3, name: "other"));
        a.Send(0, "not for you");
        b.Send(0, "for you");
        c.Receive().Should().Be("for you");
        b.Take().Should().BeNull();
    }

    [Fact]
    public void Isolated_card_of_another_process_is_reached_by_nobody_and_vlans_are_kept_apart()
    {
        var (one, two) = (Process(), Process());
        var (a, b) = (Card(one, 1), Card(two, 2));
        var (isolated, vlan1, vlan2) = (Card(two, 3, ",isolated"), Card(two, 4, ",vlan=7"), Card(one, 5, ",vlan=7"));
        isolated.Send(0, "let me out");
        vlan1.Send(0, "in seven");
        vlan2.Receive().Should().Be("in seven");
        a.Send(0, "hello");
        b.Receive().Should().Be("hello");
        // What was sent before was for nobody, as what came after is here.
        b.Send(1, "answer");
        a.Receive().Should().Be("answer");
        (a.Take(), b.Take(), isolated.Take(), vlan1.Take()).Should().Be((null, null, null, null));
    }

    [Fact]
    public void Cards_of_one_group_in_two_processes_do_not_reach_each_other()
    {
        var (one, two) = (Process(), Process());
        var (a, b, free) = (Card(one, 1, ",isolated=red"), Card(two, 2, ",isolated=red"), Card(two, 3, ",isolated=blue"));
        a.Send(0, "who is there");
        free.Receive().Should().Be("who is there");
        free.Send(0, "I am");
        a.Receive().Should().Be("I am");
        b.Receive().Should().Be("I am", "what came before was not for it");
    }

    /// <summary>However the server ends the others go on, and one of them serves.</summary>
    [Fact]
    public void Cards_go_on_when_the_process_that_served_the_switch_is_gone()
    {
        var processes = Enumerable.Range(0, 4).Select(_ => Process()).ToList();
        var cards = processes.Select((p, i) => Card(p, i + 1)).ToList();
        for (int round = 0; round < 3; round++)
        {
            var server = cards.Single(c => c.Backend is SwitchBackend { Link: LocalLink });
            cards.Remove(server);
            End(server);
            foreach (var (from, to) in cards.SelectMany(f => cards.Where(t => t != f).Select(t => (f, t))))
            {
                string text = $"round {round}, {from.Number} to {to.Number}";
                // Frames may be lost while there is no server: as a guest does, it is sent again.
                to.Until(() =>
                {
                    from.Take();
                    from.Send(to.Number, text);
                    return to.Take() is { } frame && System.Text.Encoding.Latin1.GetString(frame.AsSpan(NetHeader.Size + 14)) == text;
                }, text);
            }

            cards.SelectMany(c => c.Links).Should().BeEmpty("guests do not see who serves");
            foreach (var card in cards)
            {
                while (card.Take() is not null)
                {
                }
            }
        }
    }

    [Fact]
    public void Trunk_of_every_other_VLAN_is_said_to_another_process_too()
    {
        var (one, two) = (Process(), Process());
        var seven = Card(one, 1, ",vlan=7");
        var trunk = Card(two, 2, $",vlan=0,trunk={string.Join('+', Enumerable.Range(0, 2047).Select(i => 2 * i + 1))}");
        seven.Send(0, "in seven");
        trunk.ReceiveFrame().AsSpan(NetHeader.Size + 12, 4).ToArray().Should().Equal(0x81, 0, 0, 7);
    }

    /// <summary>What ends may be told of frames by others at that moment, who go on.</summary>
    [Fact]
    public void Card_that_is_silenced_is_told_nothing_any_more()
    {
        var process = Process();
        var (a, b) = (Card(process, 1), Card(process, 2));
        b.Send(1, "here I am");
        a.Receive();
        ((SwitchBackend)b.Backend).Silence();
        a.Send(2, "too late");
        b.Told.Should().Be(0);
        b.Take().Should().NotBeNull("it is there all the same");
    }

    [Fact]
    public void Offloads_pass_between_processes_as_they_are_or_are_finished_as_the_receiver_s_driver_wants()
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        var undone = new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 14, 2, 0);
        b.Send(0, "I have said what I take");
        a.Receive();
        a.Send(MacAddress.Broadcast, "abcdefgh", undone);
        NetHeader.Read(b.ReceiveFrame()).Should().Be(undone);
        b.Backend.Configure(NetOffloads.None, 1);
        b.Send(0, "I say what I take before I send");
        a.Receive();
        a.Send(2, "");
        b.ReceiveFrame();
        a.Send(MacAddress.Broadcast, "ab\0\0efgh", undone);
        byte[] done = b.ReceiveFrame();
        NetHeader.Read(done).Should().Be(default(NetHeader));
        // 0x6162 + 0x6566 + 0x6768, folded and turned.
        done.AsSpan(NetHeader.Size + 16, 2).ToArray().Should().Equal(0xd1, 0xce);
    }

    [Fact]
    public void Long_segments_pass_between_processes_whole_and_in_order()
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        b.Send(1, "here I am");
        a.Receive();
        string[] texts = [.. Enumerable.Range(0, 20).Select(i => new string((char)('a' + i), 65_000 + i))];
        var received = new List<string>();
        foreach (string text in texts)
        {
            a.Until(() => a.Send(2, text) != SendOutcome.Full, "there is room again");
            while (b.Take() is { } early)
                received.Add(System.Text.Encoding.Latin1.GetString(early.AsSpan(NetHeader.Size + 14)));
        }

        while (received.Count < texts.Length)
        {
            // The card's thread goes on sending what the socket did not take.
            a.Take();
            received.Add(b.Receive());
        }

        received.Should().Equal(texts);
    }

    /// <summary>Where it was restored the switch may know it elsewhere: the guest says where it is, and frames come.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Card_on_a_switch_has_its_guest_announce_itself_after_a_restore_and_goes_on(bool elsewhere)
    {
        var process = Process();
        var a = Card(process, 1);
        using var backend = process.Join("s", new SwitchPortConfig(), null, message => throw new InvalidOperationException(message), null);
        using var guest = new NetGuest(backend, new NetOptions { Mac = SwitchCard.MacOf(2) });
        byte[] announcement = NetGuest.Frame(64, MacAddress.Broadcast, SwitchCard.MacOf(2));
        guest.Send(NetGuest.Header(), announcement).Should().BeTrue();
        a.ReceiveFrame().AsSpan(NetHeader.Size).SequenceEqual(announcement).Should().BeTrue();
        guest.LinkStatus().Should().Be(1);
        if (elsewhere)
        {
            // Somebody had the address meanwhile.
            using var stray = SwitchCard.Join(process, "s", 2);
            stray.Send(1, "it is mine now");
            a.Receive();
        }

        guest.Move();
        guest.LinkStatus().Should().Be(3, "the link is up and is to be announced");
        guest.Send(NetGuest.Header(), announcement).Should().BeTrue();
        a.ReceiveFrame();
        guest.Command(3, 0).Should().Be(0);
        guest.LinkStatus().Should().Be(1);
        guest.Offer(2000);
        a.Send(2, "hello");
        guest.Receiver.TakeUsed().Should().NotBeNull();
    }

    [Fact]
    public void Fixed_address_is_one_card_s_alone_in_all_processes()
    {
        var (one, two) = (Process(), Process());
        var a = Card(one, 1, ",fixed-mac");
        foreach (var process in (SwitchRegistry[])[one, two])
        {
            var twice = () => Card(process, 1, ",fixed-mac");
            twice.Should().Throw<VmmException>().Which.Message.Should().Contain("the address 52:54:00:00:01:01 belongs to another port");
        }

        End(a);
        Card(two, 1, ",fixed-mac");
    }

    [Fact]
    public void Uplink_that_cannot_be_opened_is_explained_to_whoever_asks_for_it_in_any_process()
    {
        // A name too long for the kernel is found before; this one is nobody's, and no root of this test may make it.
        Directory.CreateDirectory(Path.Combine(_folder, "switch-no.lock"));
        var join = () => Card(Process(), 1, name: "no");
        join.Should().Throw<VmmException>().Which.Error.Should().Be(Kvm.Vmm.Network.NetworkErrors.NoSwitch);
        Card(Process(), 1);
    }

    [Theory]
    [InlineData("..")]
    [InlineData("../x")]
    [InlineData("")]
    [InlineData(".hidden")]
    [InlineData("a/b")]
    [InlineData("-x")]
    [InlineData("123456789012345678901234567890123")]
    public void Name_that_is_no_name_is_refused(string name)
    {
        var join = () => Process().Join(name, new SwitchPortConfig(), null, _ => { }, null);
        join.Should().Throw<VmmException>().Which.Message.Should().Contain("names have 1 to 32 letters");
        Directory.GetFileSystemEntries(_folder).Should().BeEmpty();
    }

    [Fact]
    public void Folder_whose_name_leaves_no_room_for_a_socket_is_refused()
    {
        string folder = Directory.CreateDirectory(Path.Combine(_folder, new string('x', 100))).FullName;
        var join = () => new SwitchRegistry(folder).Join("s", new SwitchPortConfig(), null, _ => { }, null);
        join.Should().Throw<VmmException>().Which.Message.Should().Contain("longer than a socket's path may be");
    }

    [Fact]
    public void Socket_that_a_killed_process_left_is_replaced()
    {
        using (var left = UnixSocket.Listen(SocketPath(), 1))
        {
        }

        File.Exists(SocketPath()).Should().BeTrue();
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        a.Send(0, "hello");
        b.Receive().Should().Be("hello");
    }

    [Fact]
    public void Something_else_in_the_socket_s_place_is_left_alone_and_explained()
    {
        File.WriteAllText(SocketPath(), "mine");
        var join = () => Card(Process(), 1);
        join.Should().Throw<VmmException>().Which.Message.Should().Contain("EADDRINUSE");
        File.ReadAllText(SocketPath()).Should().Be("mine");
    }

    [Fact]
    public void Managed_switch_is_served_by_its_manager_alone_and_cards_wait_for_it()
    {
        var (manager, guests) = (Process(), Process());
        var options = new SwitchOptions { MaxPorts = 3 };
        SwitchCard b;
        using (var managed = manager.Manage("s", options, null, message => throw new InvalidOperationException(message), null))
        {
            managed.Switch.Options.Should().BeSameAs(options);
            var again = () => Process().Manage("s", options, null, _ => { }, null);
            again.Should().Throw<VmmException>().Which.Message.Should().Contain("another process has it");
            var (a, c) = (Card(manager, 1), Card(guests, 3));
            b = Card(guests, 2);
            var fourth = () => Card(guests, 4);
            fourth.Should().Throw<VmmException>().Which.Message.Should().Contain("the switch has 3 ports, which are all used");
            managed.Switch.Policy = new Nothing();
            b.Send(1, "refused");
            b.Until(() => managed.Switch.Ports.Sum(p => p.Dropped(SwitchDrop.Policy)) == 2, "it was asked for both others");
            End(a);
            End(c);
        }

        b.Until(() => b.Links.Count == 1, "it is unplugged");
        b.Links.Should().Equal(false);
        b.Send(1, "lost").Should().Be(SendOutcome.Dropped);
        using var next = manager.Manage("s", options, null, message => throw new InvalidOperationException(message), null);
        b.Until(() => b.Links.Count == 2, "it is plugged in again");
        b.Links.Should().Equal(false, true);
        var d = Card(manager, 5);
        b.Send(5, "hello");
        d.Receive().Should().Be("hello");
        End(b);
    }

    private sealed class Nothing : IFramePolicy
    {
        public bool Allows(int fromPort, int toPort, ReadOnlySpan<byte> frame) => false;
    }

    /// <summary>A client of this user that says anything at all.</summary>
    public static TheoryData<byte[]> Greetings => new()
    {
        new byte[] { 0, 0, 0, 0 },
        new byte[] { 0, 0, 0x30, 1 },
        new byte[] { 0xff, 0xff, 0xff, 0xff },
        new byte[] { 0, 0, 0, 3, (byte)'h', (byte)'e', (byte)'y' },
        Framed("kvmsharp-switch 1\n,vlan=4095\n"),
        Framed("kvmsharp-switch 1\n,weight=0\n"),
        Framed("kvmsharp-switch 1\n,nonsense\n"),
        Framed("kvmsharp-switch 1\n\nff:ff:ff:ff:ff:ff"),
        Framed("kvmsharp-switch 1\n\n52:54:00:00:01:0"),
        Framed("kvmsharp-switch 2\n\n"),
        Framed("\n\n\n\n"),
    };

    private static byte[] Framed(string text)
    {
        byte[] all = new byte[4 + text.Length];
        BinaryPrimitives.WriteInt32BigEndian(all, text.Length);
        System.Text.Encoding.Latin1.GetBytes(text, all.AsSpan(4));
        return all;
    }

    private UnixSocket Connect()
    {
        UnixSocket.TryConnect(SocketPath(), out var socket).Should().Be(0);
        return socket!;
    }

    /// <summary>All that comes until the other end hangs up.</summary>
    private static string ReadToEnd(UnixSocket socket)
    {
        byte[] buffer = new byte[4096];
        int count = 0;
        while (socket.Receive(buffer.AsSpan(count), out _) is > 0 and var more)
            count += more;
        return System.Text.Encoding.Latin1.GetString(buffer.AsSpan(0, count));
    }

    [Theory]
    [MemberData(nameof(Greetings))]
    public void Client_that_does_not_greet_as_it_must_is_hung_up_on_and_the_others_go_on(byte[] greeting)
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        using (var socket = Connect())
        {
            socket.Send(greeting);
            string answer = ReadToEnd(socket);
            answer.Should().Match(s => s.Length == 0 || s.Substring(4).StartsWith("no ", StringComparison.Ordinal));
        }

        a.Send(0, "hello");
        b.Receive().Should().Be("hello");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(11)]
    [InlineData(13)]
    [InlineData(25)]
    [InlineData(12 + 65_551)]
    [InlineData(-1)]
    public void Client_that_sends_a_length_that_cannot_be_is_hung_up_on_and_the_others_go_on(int length)
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        using (var socket = Connect())
        {
            socket.Send(Framed("kvmsharp-switch 1\n,vlan=1\n"));
            byte[] answer = new byte[6];
            for (int got = 0; got < answer.Length;)
                got += socket.Receive(answer.AsSpan(got), out _);
            answer.Should().Equal(Framed("ok"));
            byte[] wrong = new byte[64];
            BinaryPrimitives.WriteInt32BigEndian(wrong, length);
            socket.Send(wrong);
            ReadToEnd(socket).Should().BeEmpty();
        }

        a.Send(0, "hello");
        b.Receive().Should().Be("hello");
    }

    /// <summary>Clients that say nothing are bounded, and those that do not read hold nobody up.</summary>
    [Fact]
    public void Silent_and_deaf_clients_hold_nobody_up()
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        b.Send(1, "here I am");
        a.Receive();
        var sockets = Enumerable.Range(0, 40).Select(_ => Connect()).ToList();
        try
        {
            // The first are waited for; the last ones are one too many.
            ReadToEnd(sockets[^1]).Should().BeEmpty();
            sockets[0].Send(Framed("kvmsharp-switch 1\n,vlan=1\n"));
            string text = new('x', 60_000);
            for (int i = 0; i < 200; i++)
            {
                a.Send(0, text);
                b.Receive().Should().Be(text);
            }
        }
        finally
        {
            sockets.ForEach(s => s.Dispose());
        }

        a.Send(2, "hello");
        b.Receive().Should().Be("hello");
    }

    [Fact]
    public void Ten_thousand_frames_between_processes_allocate_nothing_on_the_card_s_thread()
    {
        var (a, b) = (Card(Process(), 1), Card(Process(), 2));
        b.Send(1, "here I am");
        a.Receive();
        using var buffer = new AlignedBuffer(NetHeader.Size + 1514);
        b.Mac.Write(buffer.Buffer.Span[NetHeader.Size..]);
        a.Mac.Write(buffer.Buffer.Span[(NetHeader.Size + 6)..]);
        HostBuffer[] pieces = [buffer.Buffer.Slice(0, 140), buffer.Buffer.Slice(140)];
        var (sender, receiver) = (a.Backend, b.Backend);
        Allocation.Of(_ =>
        {
            while (sender.Send(0, pieces, buffer.Length) == SendOutcome.Full)
                sender.Peek(0);
            receiver.Peek(0);
            receiver.Take(0);
        }).Should().Be(0);
    }
}
