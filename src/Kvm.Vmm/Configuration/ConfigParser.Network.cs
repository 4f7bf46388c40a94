using System.Text;
using System.Text.Json;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Virtio.Net;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Configuration;

/// <summary>The members that describe networks.</summary>
internal ref partial struct ConfigParser
{
    private void ReadNetworkInterfaces()
    {
        if (IsNull())
            return;
        if (_json.TokenType != JsonTokenType.StartArray)
            throw BadValue(ConfigMembers.NetworkInterfaces, "is not a list");
        var cards = new List<NetConfig>();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            if (cards.Count == NetConfig.MaxCards)
                throw BadValue(ConfigMembers.NetworkInterfaces, $"has more than {NetConfig.MaxCards} elements");
            cards.Add(ReadNetworkInterface());
        }

        if (cards.Count > 0)
            _machine = _machine with { Networks = cards };
    }

    /// <summary>Firecracker's cards are those with a <c>host_dev_name</c>: TAP interfaces.</summary>
    private NetConfig ReadNetworkInterface()
    {
        ExpectObject(ConfigMembers.NetworkInterfaces);
        string? device = null, backend = null;
        var card = new NetConfig { Kind = NetKind.Tap };
        var seen = 0u;
        while (NextMember(ConfigMembers.OfNetworkInterface, ConfigMembers.NetworkInterfaces, ref seen) is { } member)
        {
            switch (member)
            {
                case ConfigMembers.IfaceId:
                    card = card with { Id = TextOrNull(member) };
                    break;
                case ConfigMembers.HostDevName:
                    device = TextOrNull(member);
                    break;
                case ConfigMembers.Backend:
                    backend = TextOrNull(member);
                    break;
                case ConfigMembers.GuestMac:
                    card = card with { Mac = ReadMac(member) };
                    break;
                case ConfigMembers.FixedMac:
                    card = card with { FixedMac = Flag(member) };
                    break;
                case ConfigMembers.Mtu:
                    card = card with { Mtu = (int)Number(member, 0, NetOptions.MaxMtu) };
                    break;
                case ConfigMembers.Queues:
                    card = card with { Queues = (int)Number(member, 1, NetOptions.MaxPairs) };
                    break;
                case ConfigMembers.Via:
                    card = card with { Via = (UserStack)OneOf(member, SettingNames.UserStacks) };
                    break;
                case ConfigMembers.AllowHost:
                    card = card with { AllowHost = ReadTexts(member, AllowedPort.Parse) };
                    break;
                case ConfigMembers.Publish:
                    card = card with { Publish = ReadTexts(member, text => PublishedPort.Parse(text, out var port) is null ? port : null) };
                    break;
                case ConfigMembers.Vlan or ConfigMembers.Trunk or ConfigMembers.Isolated or ConfigMembers.IsolationGroup or ConfigMembers.Weight or ConfigMembers.Label or ConfigMembers.Uplink:
                    card = card with { Port = ReadSwitchPort(member, card.Port) };
                    break;
                case ConfigMembers.RxRateLimiter:
                    card = card with { ReceiveLimits = ReadRateLimiter(member) };
                    break;
                default:
                    card = card with { SendLimits = ReadRateLimiter(member) };
                    break;
            }
        }

        if (device is not null && backend is not null)
            throw BadValue(ConfigMembers.NetworkInterfaces, $"has an element with both {ConfigMembers.HostDevName} and {ConfigMembers.Backend}");
        string? wrong = NetConfig.ParseBackend(device is null ? backend ?? "" : $"tap={device}", out var end);
        card = card with { Kind = end.Kind, Name = end.Name, IsNetwork = end.IsNetwork, Model = end.Model, Descriptor = end.Descriptor };
        return (wrong ?? card.Problem()) is { } problem ? throw BadValue(ConfigMembers.NetworkInterfaces, problem) : card;
    }

    /// <summary>Firecracker's <c>mmds-config</c>: how a guest asks for its metadata, and at which cards.</summary>
    private void ReadMetadataConfig()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.MmdsConfig);
        var metadata = _machine.Metadata ?? new MetadataConfig();
        var seen = 0u;
        while (NextMember(ConfigMembers.OfMmdsConfig, ConfigMembers.MmdsConfig, ref seen) is { } member)
        {
            metadata = member switch
            {
                ConfigMembers.Version => metadata with { Version = IsNull() ? default : (MetadataVersion)OneOf(member, SettingNames.MetadataVersions) },
                ConfigMembers.Interfaces => metadata with { Cards = ReadTexts(member, text => text) },
                ConfigMembers.ImdsCompat => metadata with { PlainOnly = !IsNull() && Flag(member) },
                _ => IsNull() ? metadata : metadata with { Address = MetadataConfig.ParseAddress(Text(member)) ?? throw BadValue(member, "is no address from 169.254.1.0 to 169.254.254.255") },
            };
        }

        _machine = _machine with { Metadata = metadata };
    }

    /// <summary>Ours: the metadata itself, which Firecracker has in a file of its own.</summary>
    private void ReadMetadata()
    {
        if (IsNull())
            return;
        ExpectObject(ConfigMembers.Mmds);
        int start = (int)_json.TokenStartIndex;
        _json.Skip();
        _machine = _machine with { Metadata = (_machine.Metadata ?? new MetadataConfig()) with { Json = Encoding.UTF8.GetString(_text[start..(int)_json.BytesConsumed]) } };
    }

    private readonly SwitchPortConfig ReadSwitchPort(string member, SwitchPortConfig port)
    {
        switch (member)
        {
            case ConfigMembers.Vlan:
                return port with { Vlan = (int)Number(member, 0, PortOptions.MaxVlan) };
            case ConfigMembers.Weight:
                return port with { Weight = (int)Number(member, 1, PortOptions.MaxWeight) };
            case ConfigMembers.Isolated:
                return port with { Isolated = Flag(member) };
            case ConfigMembers.IsolationGroup:
                return port with { IsolationGroup = TextOrNull(member) ?? "" };
            case ConfigMembers.Label:
                return port with { Label = TextOrNull(member) ?? "" };
            default:
                // As the command line has them.
                return TextOrNull(member) is not { } text ? port
                    : port.With($"{member}={text}") ?? throw BadValue(member, $"is {VisibleText.Quote(text, 40)}; {(member == ConfigMembers.Trunk ? "VLANs are written 10+20-30" : "user or tap=NAME are possible")}");
        }
    }

    private readonly CaptureConfig? ReadCapture(string member)
    {
        if (IsNull())
            return null;
        return CaptureConfig.Parse(Text(member), out var capture) is { } problem ? throw BadValue(member, problem) : capture;
    }

    private List<T> ReadTexts<T>(string member, Func<string, T?> parse)
        where T : class
    {
        if (_json.TokenType != JsonTokenType.StartArray)
            throw BadValue(member, "is not a list");
        var values = new List<T>();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            string text = Text(member);
            values.Add(parse(text) ?? throw BadValue(member, $"has the element {VisibleText.Quote(text, 40)}, which is none"));
        }

        return values;
    }

    private readonly MacAddress? ReadMac(string member) =>
        IsNull() ? null : MacAddress.TryParse(Text(member), out var mac) ? mac : throw BadValue(member, "is no address such as 52:54:00:12:34:56");
}
