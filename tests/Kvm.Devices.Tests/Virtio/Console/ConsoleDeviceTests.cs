using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Console;

namespace Kvm.Devices.Tests.Virtio.Console;

public sealed class ConsoleDeviceTests
{
    private const ulong Multiport = 1 << 1;
    private const ushort Ready = 0, Add = 1, PortReady = 3, ConsolePort = 4, Resize = 5, Open = 6, Name = 7;
    private const int ControlIn = 2, ControlOut = 3, FirstIn = 0, FirstOut = 1, SecondIn = 4, SecondOut = 5;

    private readonly Sink _first = new(), _second = new();
    private readonly Dictionary<ushort, ulong> _offered = [];

    /// <summary>Takes output, as much as it is told to.</summary>
    private sealed class Sink : IConsoleSink
    {
        public StringBuilder Text { get; } = new();

        public int Room { get; set; } = int.MaxValue;

        public bool IsOpen { get; private set; }

        public int Write(ReadOnlySpan<byte> bytes)
        {
            int taken = Math.Min(bytes.Length, Room);
            Room -= Room == int.MaxValue ? 0 : taken;
            Text.Append(Encoding.Latin1.GetString(bytes[..taken]));
            return taken;
        }

        public void GuestOpened(bool open) => IsOpen = open;
    }

    private ConsoleDevice Make(GuestArena arena) =>
        new("console0", arena.Memory, [new ConsolePort("", true, _first), new ConsolePort("agent.0", false, _second)]);

    private DeviceGuest<ConsoleDevice> Guest(ulong? features = null, bool pci = false, bool packed = false) => new(Make, features, pci, packed, size: 16);

    private static byte[] Control(uint port, ushort message, ushort value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, port);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(4), message);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(6), value);
        return bytes;
    }

    /// <summary>Offers buffers on the control queue, says something, and gives what the device answers: port, message, value, the rest.</summary>
    private List<(uint Port, ushort Message, ushort Value, string Tail)> Say(DeviceGuest<ConsoleDevice> guest, params byte[][] messages)
    {
        while (_offered.Count < 12)
        {
            ulong buffer = guest.Arena.Allocate(72);
            _offered[guest.Drivers[ControlIn].Add(Element.In(buffer, 72))] = buffer;
        }

        foreach (byte[] message in messages)
            guest.Run(ControlOut, guest.Out(message))!.Value.Written.Should().Be(0);
        guest.Transport.Notify(ControlIn);
        return [.. guest.Drivers[ControlIn].TakeAllUsed().Select(used =>
        {
            _offered.Remove(used.Id, out ulong buffer);
            var bytes = guest.Arena.Bytes(buffer, (int)used.Written);
            return (BinaryPrimitives.ReadUInt32LittleEndian(bytes), BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]),
                BinaryPrimitives.ReadUInt16LittleEndian(bytes[6..]), Encoding.Latin1.GetString(bytes[8..]));
        })];
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Output_of_the_first_port_comes_out_in_order(bool pci, bool packed)
    {
        using var guest = Guest(0, pci, packed);
        guest.Run(FirstOut, guest.Out("hello, "u8), guest.Out("wor"u8))!.Value.Written.Should().Be(0);
        guest.Run(FirstOut, guest.Out("ld"u8));
        _first.Text.ToString().Should().Be("hello, world");
        _first.IsOpen.Should().BeTrue("without control messages it is simply there");
        guest.Device.Traffic(0).Should().Be((12, 0));
    }

    [Fact]
    public void Input_waits_for_buffers_and_fills_them()
    {
        using var guest = Guest(0);
        guest.Device.SendInput(0, "abcdefgh"u8).Should().Be(8);
        ulong at = guest.Arena.Allocate(5);
        guest.Run(FirstIn, Element.In(at, 5))!.Value.Written.Should().Be(5);
        Encoding.ASCII.GetString(guest.Arena.Bytes(at, 5)).Should().Be("abcde");
        guest.Run(FirstIn, Element.In(at, 5))!.Value.Written.Should().Be(3);
        Encoding.ASCII.GetString(guest.Arena.Bytes(at, 3)).Should().Be("fgh");
        guest.Run(FirstIn, Element.In(at, 5)).Should().BeNull("there is no more");
        guest.Device.SendInput(0, "i"u8);
        guest.Drivers[FirstIn].TakeUsed()!.Value.Written.Should().Be(1, "the buffer waited");
    }

    [Fact]
    public void Input_that_does_not_fit_is_not_taken_and_its_sender_is_told_when_it_would_be()
    {
        using var guest = Guest(0);
        var told = new List<int>();
        guest.Device.InputSpaceAvailable += told.Add;
        guest.Device.SendInput(0, new byte[ConsoleDevice.InputCapacity + 5]).Should().Be(ConsoleDevice.InputCapacity);
        guest.Device.SendInput(0, [1]).Should().Be(0);
        told.Should().BeEmpty();
        guest.Run(FirstIn, Element.In(guest.Arena.Allocate(100), 100));
        told.Should().Equal(0);
        guest.Device.SendInput(0, new byte[200]).Should().Be(100);
    }

    [Fact]
    public void Output_that_the_sink_does_not_take_stays_in_the_guest_and_none_is_lost_or_repeated()
    {
        using var guest = Guest(0);
        _first.Room = 3;
        guest.Run(FirstOut, guest.Out("ab"u8), guest.Out("cdef"u8)).Should().BeNull();
        guest.Run(FirstOut, guest.Out("gh"u8)).Should().BeNull();
        _first.Text.ToString().Should().Be("abc");
        _first.Room = 1;
        guest.Device.OutputReady(0);
        _first.Text.ToString().Should().Be("abcd");
        _first.Room = int.MaxValue;
        guest.Device.OutputReady(0);
        _first.Text.ToString().Should().Be("abcdefgh");
        guest.Drivers[FirstOut].TakeAllUsed().Should().HaveCount(2);
    }

    [Fact]
    public void Driver_that_is_ready_is_told_of_every_port_and_then_what_each_is()
    {
        using var guest = Guest(Multiport | 1);
        guest.Device.SetHostOpen(1, true);
        Say(guest, Control(0, Ready, 1)).Select(m => (m.Port, m.Message)).Should().Equal((0, Add), (1, Add), (1, Open));
        Say(guest, Control(0, PortReady, 1), Control(1, PortReady, 1)).Should().BeEquivalentTo(
            [(0u, ConsolePort, (ushort)1, ""), (1u, Name, (ushort)1, "agent.0"), (1u, Open, (ushort)1, "")]);
        _second.IsOpen.Should().BeFalse();
        Say(guest, Control(1, Open, 1)).Should().BeEmpty();
        (_second.IsOpen, guest.Device.IsGuestOpen(1)).Should().Be((true, true));
        guest.Run(SecondOut, guest.Out("to the agent"u8));
        _second.Text.ToString().Should().Be("to the agent");
        ulong at = guest.Arena.Allocate(16);
        guest.Device.SendInput(1, "from it"u8);
        guest.Run(SecondIn, Element.In(at, 16))!.Value.Written.Should().Be(7);
    }

    [Fact]
    public void Console_without_control_messages_keeps_input_and_size_until_the_guest_has_said_something()
    {
        using var guest = new DeviceGuest<ConsoleDevice>(
            arena => new ConsoleDevice("console0", arena.Memory, [new ConsolePort("", true, _first)], multiport: false), 1, size: 16);
        (guest.Device.OfferedFeatures & Multiport).Should().Be(0);
        guest.Device.Resize(132, 43);
        guest.Device.SendInput(0, "typed"u8).Should().Be(5);
        ulong at = guest.Arena.Allocate(16);
        guest.Run(FirstIn, Element.In(at, 16)).Should().BeNull("Linux would throw it away");

        guest.Run(FirstOut, guest.Out("login:"u8));
        _first.Text.ToString().Should().Be("login:");
        guest.Drivers[FirstIn].TakeUsed()!.Value.Written.Should().Be(5);
        guest.Arena.Bytes(at, 5).ToArray().Should().Equal("typed"u8.ToArray());
        guest.Device.Traffic(0).Received.Should().Be(5);
    }

    [Fact]
    public void Size_is_in_the_configuration_and_in_a_message_for_text_consoles()
    {
        using var guest = Guest(Multiport | 1);
        Say(guest, Control(0, Ready, 1), Control(0, PortReady, 1));
        guest.Device.Resize(132, 50);
        byte[] size = new byte[4];
        guest.Transport.ReadConfig(0, size);
        size.Should().Equal(132, 0, 50, 0);
        Say(guest).Where(m => m.Message == Resize).Should().ContainSingle().Which.Tail.Should().Be("\u0084\0\u0032\0");
    }

    [Fact]
    public void Emergency_write_comes_out_before_the_driver_has_started()
    {
        using var guest = Guest(0);
        guest.Transport.Status = 0;
        guest.Transport.WriteConfig(8, [(byte)'!', 0, 0, 0]);
        _first.Text.ToString().Should().Be("!");
    }

    [Fact]
    public void Messages_a_driver_should_not_send_are_passed_over()
    {
        using var guest = Guest(Multiport);
        Say(guest, Control(uint.MaxValue, Open, 1), Control(2, PortReady, 1), Control(0, 99, 1), Control(0, Add, 1), Control(0, Ready, 0), [1, 2, 3], [])
            .Should().BeEmpty();
        guest.Device.NeedsReset.Should().BeFalse();
        _first.IsOpen.Should().BeFalse();
    }

    [Fact]
    public void Driver_that_asks_a_thousand_times_and_offers_no_buffers_makes_one_message_wait()
    {
        using var guest = Guest(Multiport);
        for (int i = 0; i < 1000; i++)
            guest.Run(ControlOut, guest.Out(Control(0, Ready, 1)));
        Say(guest).Should().HaveCount(2);
    }

    [Fact]
    public void Control_queues_without_the_feature_are_dead()
    {
        using var guest = Guest(0);
        guest.Run(ControlOut, guest.Out(Control(0, Ready, 1))).Should().BeNull();
        guest.Run(ControlIn, Element.In(guest.Arena.Allocate(72), 72)).Should().BeNull();
    }

    [Fact]
    public void Buffer_too_small_for_its_message_or_outside_memory_loses_it_and_no_more()
    {
        using var guest = Guest(Multiport);
        ulong small = guest.Arena.Allocate(3);
        guest.Drivers[ControlIn].Add(Element.In(small, 3));
        guest.Drivers[ControlIn].Add(Element.In(0xfee0_0000, 72));
        guest.Run(ControlOut, guest.Out(Control(0, Ready, 1)));
        guest.Drivers[ControlIn].TakeAllUsed().Select(u => u.Written).Should().Equal(3, 0);
        guest.Run(FirstOut, Element.Out(ulong.MaxValue - 3, 4))!.Value.Written.Should().Be(0);
        _first.Text.Length.Should().Be(0);
    }

    [Fact]
    public void Reset_closes_the_ports_and_keeps_input()
    {
        using var guest = Guest(0);
        guest.Device.SendInput(0, "abc"u8);
        guest.Transport.Status = 0;
        _first.IsOpen.Should().BeFalse();
        guest.Device.IsGuestOpen(0).Should().BeFalse();
    }

    [Fact]
    public void Console_moved_in_the_middle_of_output_and_input_loses_and_repeats_nothing()
    {
        using var guest = Guest(0, pci: true);
        _first.Room = 4;
        guest.Run(FirstOut, guest.Out("abcdef"u8)).Should().BeNull();
        guest.Device.SendInput(0, "waiting"u8);
        _first.Room = int.MaxValue;
        guest.Move(Make);
        _first.Text.ToString().Should().Be("abcdef");
        guest.Drivers[FirstOut].TakeUsed().Should().NotBeNull();
        ulong at = guest.Arena.Allocate(16);
        guest.Run(FirstIn, Element.In(at, 16))!.Value.Written.Should().Be(7);
        guest.Device.IsGuestOpen(0).Should().BeTrue();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(31)]
    public void Impossible_number_of_ports_is_refused_at_set_up(int ports)
    {
        using var arena = new GuestArena();
        var make = () => new ConsoleDevice("console0", arena.Memory, [.. Enumerable.Repeat(new ConsolePort("", true, _first), ports)]);
        make.Should().Throw<ArgumentException>();
        var named = () => new ConsoleDevice("console0", arena.Memory, [new ConsolePort(new string('x', 65), true, _first)]);
        named.Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Ten_thousand_transfers_allocate_nothing()
    {
        var silent = new Silent();
        using var guest = new DeviceGuest<ConsoleDevice>(arena => new ConsoleDevice("console0", arena.Memory, [new ConsolePort("", true, silent)]), 0);
        Element[] output = [guest.Out("0123456789"u8)], input = [Element.In(guest.Arena.Allocate(64), 64)];
        byte[] typed = new byte[20];
        Allocation.Of(i =>
        {
            int queue = i & 1;
            guest.Drivers[queue].TryAdd(queue == 0 ? input : output, out ushort _);
            if (queue == 0)
                guest.Device.SendInput(0, typed);
            else
                guest.Device.ProcessQueue(1);
            while (guest.Drivers[queue].TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
    }

    private sealed class Silent : IConsoleSink
    {
        public int Write(ReadOnlySpan<byte> bytes) => bytes.Length;

        public void GuestOpened(bool open)
        {
        }
    }

    [Fact]
    public void Named_port_takes_input_only_while_the_guest_has_it_open_and_forgets_what_was_not_read()
    {
        using var guest = Guest(Multiport);
        guest.Device.SendInput(1, "early"u8).Should().Be(0);
        guest.Run(ControlOut, guest.Out(Control(1, Open, 1)));
        guest.Device.SendInput(1, "first"u8).Should().Be(5);
        guest.Device.WatchInput(1).Should().BeTrue();
        guest.Run(ControlOut, guest.Out(Control(1, Open, 0)));
        guest.Device.WatchInput(1).Should().BeFalse("the next program is another one");
        guest.Run(ControlOut, guest.Out(Control(1, Open, 1)));
        guest.Device.SendInput(1, "second"u8).Should().Be(6);
        ulong at = guest.Arena.Allocate(16);
        guest.Run(SecondIn, Element.In(at, 16))!.Value.Written.Should().Be(6);
    }

    [Fact]
    public void Console_s_input_waits_until_the_driver_has_opened_it()
    {
        using var guest = Guest(Multiport);
        ulong at = guest.Arena.Allocate(16);
        guest.Device.SendInput(0, "typed"u8).Should().Be(5);
        guest.Run(FirstIn, Element.In(at, 16)).Should().BeNull("Linux would throw it away");
        guest.Run(ControlOut, guest.Out(Control(0, Open, 1)));
        guest.Drivers[FirstIn].TakeUsed()!.Value.Written.Should().Be(5);
    }

    [Fact]
    public void Whoever_watches_a_port_is_told_when_its_input_was_taken()
    {
        using var guest = Guest(0);
        var told = new List<int>();
        guest.Device.InputSpaceAvailable += told.Add;
        guest.Device.WatchInput(0).Should().BeFalse();
        guest.Device.SendInput(0, "x"u8);
        guest.Device.WatchInput(0).Should().BeTrue();
        guest.Run(FirstIn, Element.In(guest.Arena.Allocate(4), 4));
        told.Should().Equal(0);
        guest.Device.WatchInput(0).Should().BeFalse();
    }
}
