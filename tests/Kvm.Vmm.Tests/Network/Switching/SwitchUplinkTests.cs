using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop.Slirp;
using Kvm.Tests.Support;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Switching;

/// <summary>The way out of a switch, for cards of the process that serves it and of another: who has an address there is asked and answered.</summary>
public sealed class SwitchUplinkTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-uplink").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Asks who has an address (RFC 826), and gives the address that answers; the frame may have a tag.</summary>
    private static MacAddress Resolve(SwitchCard card, uint own, uint wanted, int? tag = null)
    {
        byte[] arp = new byte[28];
        ReadOnlySpan<byte> kind = [0, 1, 8, 0, 6, 4, 0, 1];
        kind.CopyTo(arp);
        card.Mac.Write(arp.AsSpan(8));
        BinaryPrimitives.WriteUInt32BigEndian(arp.AsSpan(14), own);
        BinaryPrimitives.WriteUInt32BigEndian(arp.AsSpan(24), wanted);
        byte[] type = tag is { } vlan ? [0x81, 0, (byte)(vlan >> 8), (byte)vlan, 8, 6] : [8, 6];
        int at = NetHeader.Size + 12 + type.Length;
        using var buffer = new AlignedBuffer(at + arp.Length);
        var frame = buffer.Buffer.Span;
        MacAddress.Broadcast.Write(frame[NetHeader.Size..]);
        card.Mac.Write(frame[(NetHeader.Size + 6)..]);
        type.CopyTo(frame[(NetHeader.Size + 12)..]);
        arp.CopyTo(frame[at..]);
        // A stack that has just begun may not listen yet: as a guest does, it is asked again.
        MacAddress? answer = null;
        card.Until(() =>
        {
            card.Backend.Send(0, [buffer.Buffer], buffer.Length);
            while (card.Take() is { } got)
            {
                if (got.Length >= at + 28 && got.AsSpan(NetHeader.Size + 12, type.Length).SequenceEqual(type) && got[at + 7] == 2
                    && BinaryPrimitives.ReadUInt32BigEndian(got.AsSpan(at + 14)) == wanted)
                    answer = MacAddress.Read(got.AsSpan(at + 8));
            }

            return answer is not null;
        }, "somebody answers");
        return answer!.Value;
    }

    [SkippableFact]
    public void User_network_is_reached_from_every_process_and_isolated_cards_too()
    {
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        var (one, two) = (new SwitchRegistry(_folder), new SwitchRegistry(_folder));
        using var a = SwitchCard.Join(one, "s", 1, ",uplink=user");
        using var b = SwitchCard.Join(two, "s", 2, ",uplink=user,isolated");
        using var c = SwitchCard.Join(two, "s", 3);
        var gateway = Resolve(a, 0x0a00_020f, 0x0a00_0202);
        Resolve(b, 0x0a00_0210, 0x0a00_0202).Should().Be(gateway);
        Resolve(c, 0x0a00_0211, 0x0a00_0202).Should().Be(gateway);
        var other = () => SwitchCard.Join(two, "s", 4, ",uplink=tap=kvmnone0");
        other.Should().Throw<VmmException>().Which.Message.Should().Contain("the switch's uplink is user, not tap=kvmnone0");
    }

    /// <summary>Sends a datagram to the gateway's port until somebody of the host has it.</summary>
    private static void Tell(SwitchCard card, UdpClient host, string text)
    {
        byte[] bytes = SlirpBackendTests.Datagram("10.0.2.15", "10.0.2.2", 4000, ((IPEndPoint)host.Client.LocalEndPoint!).Port, System.Text.Encoding.ASCII.GetBytes(text));
        card.Mac.Write(bytes.AsSpan(6));
        using var frame = new AlignedBuffer(NetHeader.Size + bytes.Length);
        card.Until(() =>
        {
            bytes.CopyTo(frame.Buffer.Span[NetHeader.Size..]);
            card.Backend.Send(0, [frame.Buffer], frame.Length);
            while (card.Take() is not null)
                continue;
            var from = new IPEndPoint(IPAddress.Any, 0);
            while (host.Available > 0)
            {
                if (System.Text.Encoding.ASCII.GetString(host.Receive(ref from)) == text)
                    return true;
            }

            return false;
        }, "the host hears it");
    }

    [SkippableFact]
    public void Every_vlan_has_its_user_network_and_what_one_card_asks_to_reach_of_the_host_all_do()
    {
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        using UdpClient first = new(new IPEndPoint(IPAddress.Loopback, 0)), second = new(new IPEndPoint(IPAddress.Loopback, 0));
        string Port(UdpClient client) => $"{((IPEndPoint)client.Client.LocalEndPoint!).Port}/udp";
        var (one, two) = (new SwitchRegistry(_folder), new SwitchRegistry(_folder));
        using var a = SwitchCard.Join(one, "s", 1, $",uplink=user,allow-host={Port(first)}");
        // The same address in another VLAN is somebody else's.
        using var b = SwitchCard.Join(two, "s", 2, ",vlan=7");
        Tell(a, first, "from a");
        Tell(b, first, "from b");
        Resolve(b, 0x0a00_020f, 0x0a00_0202).Should().Be(Resolve(a, 0x0a00_020f, 0x0a00_0202), "each has its gateway, and all are called the same");
        using var trunk = SwitchCard.Join(two, "s", 3, $",vlan=0,trunk=5+7,allow-host={Port(second)},uplink=user");
        Resolve(trunk, 0x0a00_0210, 0x0a00_0202, tag: 5).Should().Be(Resolve(trunk, 0x0a00_0210, 0x0a00_0202, tag: 7));
        Tell(a, second, "now too");
        Tell(b, second, "here as well");
    }

    [SkippableFact]
    public void Tap_interface_has_all_vlans_but_one_behind_their_tags()
    {
        NetworkNamespace.SkipWithoutTap();
        NetworkNamespace.Run(() =>
        {
            const string tap = "kvmtest1";
            NetworkNamespace.Ip($"tuntap add dev {tap} mode tap");
            NetworkNamespace.Ip($"addr add 10.9.0.1/24 dev {tap}");
            NetworkNamespace.Ip($"link set {tap} up");
            var (one, two) = (new SwitchRegistry(_folder), new SwitchRegistry(_folder));
            using var a = SwitchCard.Join(one, "s", 1, $",uplink=tap={tap}");
            using var b = SwitchCard.Join(two, "s", 2);
            using var trunk = SwitchCard.Join(two, "s", 3, ",vlan=0,trunk=1");
            var host = Resolve(a, 0x0a09_0002, 0x0a09_0001);
            Resolve(b, 0x0a09_0003, 0x0a09_0001).Should().Be(host);
            Resolve(trunk, 0x0a09_0004, 0x0a09_0001, tag: 1).Should().Be(host);
        });
    }

    [SkippableFact]
    public void Uplink_that_cannot_be_opened_is_explained_and_the_switch_is_there_without_it()
    {
        Skip.If(Environment.IsPrivilegedProcess && !Directory.Exists("/sys/class/net/lo"), "there is no interface that is no TAP interface");
        var process = new SwitchRegistry(_folder);
        // The loopback is no TAP interface.
        var join = () => SwitchCard.Join(process, "s", 1, ",uplink=tap=lo");
        join.Should().Throw<VmmException>().Which.Message.Should().Contain("tap='lo'");
        using var a = SwitchCard.Join(process, "s", 1);
        using var b = SwitchCard.Join(process, "s", 2);
        a.Send(0, "hello");
        b.Receive().Should().Be("hello");
    }
}
