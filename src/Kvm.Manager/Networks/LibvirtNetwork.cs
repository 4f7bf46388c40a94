using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Xml;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Networks;

/// <summary>
/// Reads a network's XML of libvirt's, where it says nothing that these networks have not. No DTD, no entities, nothing that is fetched; 1 MiB and 32 levels at most. Thread-safe: pure functions.
/// </summary>
internal static class LibvirtNetwork
{
    // What has no meaning here: there is no bridge in the kernel, and no uuid.
    private static readonly string[] s_ignored = ["uuid", "bridge", "mac", "title", "description", "metadata"];

    /// <summary>Whether a text is XML and not JSON.</summary>
    public static bool IsXml(ReadOnlySpan<byte> text) => text.TrimStart("\uFEFF \t\r\n"u8) is [(byte)'<', ..];

    /// <summary>The description that says the same.</summary>
    /// <exception cref="VmmException">KVM0190: it is no network's XML; KVM0663: it says what is not done here, which is named.</exception>
    public static byte[] Convert(ReadOnlyMemory<byte> xml, string fileName)
    {
        var root = Load(xml, fileName);
        var lacking = new List<string>();
        if (root.Name != "network")
            throw Bad(fileName, $"its root is <{root.Name}>, and not <network>");
        Check(root, lacking, [.. s_ignored, "name", "forward", "domain", "dns", "mtu", "ip"], ["ipv6", "connections"]);
        string mode = root.First("forward") is { } forward ? forward["mode"] ?? "nat" : "none";
        if (mode is not ("nat" or "none"))
            lacking.Add($"<forward mode='{mode}'>");
        if (root.First("forward") is { } element)
            Check(element, lacking, [], ["mode"]);
        var ips = root.All("ip").ToList();
        lacking.AddRange(ips.Where(ip => ip["family"] == "ipv6").Select(_ => "<ip family='ipv6'>"));
        ips.RemoveAll(ip => ip["family"] == "ipv6");
        if (ips.Count != 1)
            throw Bad(fileName, $"it has {ips.Count} elements <ip> of IPv4, and not one");
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("name", root.First("name")?.Text ?? throw Bad(fileName, "it has no <name>"));
            json.WriteString("uplink", mode == "nat" ? "user" : "none");
            WriteAddresses(json, ips[0], mode == "nat", lacking, fileName);
            WriteNames(json, root, lacking);
            json.WriteEndObject();
        }

        return lacking.Count == 0 ? text.WrittenSpan.ToArray()
            : throw new VmmException(NetworkObjectErrors.Lacking, $"{VisibleText.Quote(fileName, 200)}: {string.Join(", ", lacking.Distinct().Take(10).Select(what => VisibleText.Escape(what)))}");
    }

    private static void WriteAddresses(Utf8JsonWriter json, XmlNode ip, bool hasUplink, List<string> lacking, string fileName)
    {
        Check(ip, lacking, ["dhcp"], ["address", "netmask", "prefix", "family", "localPtr"]);
        uint own = Address(ip["address"], fileName);
        int bits = ip["prefix"] is { } prefix && int.TryParse(prefix, NumberStyles.None, CultureInfo.InvariantCulture, out int given) && given is > 0 and <= 32 ? given
            : uint.PopCount(Address(ip["netmask"], fileName)) is var count ? (int)count : 0;
        uint mask = bits == 0 ? 0 : uint.MaxValue << (32 - bits);
        json.WriteString("subnet", $"{Text(own & mask)}/{bits}");
        // There it is the way out, the nameserver and who gives addresses; here the way out, and the other two have one of their own.
        json.WriteString(hasUplink ? "gateway" : "server", Text(own));
        if (ip.First("dhcp") is not { } dhcp)
            return;
        Check(dhcp, lacking, ["range", "host"], []);
        var ranges = dhcp.All("range").ToList();
        if (ranges.Count > 1)
            lacking.Add("several <range> of <dhcp>");
        if (ranges.Count > 0)
        {
            Check(ranges[0], lacking, [], ["start", "end"]);
            json.WriteStartObject("dhcp");
            json.WriteString("first", ranges[0]["start"]);
            json.WriteString("last", ranges[0]["end"]);
            json.WriteEndObject();
        }

        json.WriteStartArray("machines");
        foreach (var host in dhcp.All("host"))
        {
            Check(host, lacking, [], ["mac", "name", "ip"]);
            if (host["mac"] is null || host["name"] is null)
                lacking.Add("<host> of <dhcp> without mac or name");
            json.WriteStartObject();
            json.WriteString("name", host["name"]);
            json.WriteString("mac", host["mac"]);
            json.WriteString("address", host["ip"]);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteNames(Utf8JsonWriter json, XmlNode root, List<string> lacking)
    {
        if (root.First("domain") is { } domain)
        {
            Check(domain, lacking, [], ["name", "localOnly"]);
            json.WriteString("domain", domain["name"]);
        }

        if (root.First("mtu") is { } mtu && int.TryParse(mtu["size"], NumberStyles.None, CultureInfo.InvariantCulture, out int size))
            json.WriteNumber("mtu", size);
        if (root.First("dns") is not { } dns)
            return;
        Check(dns, lacking, ["host"], []);
        json.WriteStartObject("names");
        foreach (var host in dns.All("host"))
        {
            Check(host, lacking, ["hostname"], ["ip"]);
            foreach (var name in host.All("hostname"))
                json.WriteString(name.Text, host["ip"]);
        }

        json.WriteEndObject();
    }

    /// <summary>Names what an element has beyond what is known.</summary>
    private static void Check(XmlNode element, List<string> lacking, string[] elements, string[] attributes)
    {
        lacking.AddRange(element.Children.Where(child => !elements.Contains(child.Name)).Select(child => $"<{child.Name}> in <{element.Name}>"));
        lacking.AddRange(element.Attributes.Where(attribute => !attributes.Contains(attribute.Key)).Select(attribute => $"{attribute.Key}= of <{element.Name}>"));
    }

    private static XmlNode Load(ReadOnlyMemory<byte> xml, string fileName)
    {
        try
        {
            return XmlNode.Parse(xml.Span.TrimStart("\uFEFF \t\r\n"u8));
        }
        catch (Exception e) when (e is XmlException or DecoderFallbackException)
        {
            throw Bad(fileName, $"no XML that is read here: {VisibleText.Escape(e.Message)}", e);
        }
    }

    private static uint Address(string? text, string fileName)
    {
        uint address = 0;
        string[] parts = (text ?? "").Split('.');
        foreach (string part in parts)
            address = byte.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out byte octet) && parts.Length == 4 ? address << 8 | octet : throw Bad(fileName, $"{VisibleText.Quote(text ?? "", 40)} is no IPv4 address");
        return address;
    }

    private static string Text(uint address) => $"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}";

    private static VmmException Bad(string fileName, string what, Exception? inner = null) => new(Kvm.Vmm.Network.NetworkErrors.BadModel, $"{VisibleText.Quote(fileName, 200)}: {what}", inner);
}
