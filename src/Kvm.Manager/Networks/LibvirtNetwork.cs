using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Xml;
using System.Xml.Linq;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Networks;

/// <summary>
/// Reads a network's XML of libvirt's, where it says nothing that these networks have not. No DTD, no entities, nothing that is fetched; 1 MiB and 32 levels at most. Thread-safe: pure functions.
/// </summary>
internal static class LibvirtNetwork
{
    private const int MostCharacters = 1 << 20, MostDepth = 32;

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
            throw Bad(fileName, $"its root is <{root.Name.LocalName}>, and not <network>");
        Check(root, lacking, [.. s_ignored, "name", "forward", "domain", "dns", "mtu", "ip"], ["ipv6", "connections"]);
        string mode = root.Element("forward") is { } forward ? forward.Attribute("mode")?.Value ?? "nat" : "none";
        if (mode is not ("nat" or "none"))
            lacking.Add($"<forward mode='{mode}'>");
        if (root.Element("forward") is { } element)
            Check(element, lacking, [], ["mode"]);
        var ips = root.Elements("ip").ToList();
        lacking.AddRange(ips.Where(ip => ip.Attribute("family")?.Value == "ipv6").Select(_ => "<ip family='ipv6'>"));
        ips.RemoveAll(ip => ip.Attribute("family")?.Value == "ipv6");
        if (ips.Count != 1)
            throw Bad(fileName, $"it has {ips.Count} elements <ip> of IPv4, and not one");
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("name", root.Element("name")?.Value.Trim() ?? throw Bad(fileName, "it has no <name>"));
            json.WriteString("uplink", mode == "nat" ? "user" : "none");
            WriteAddresses(json, ips[0], mode == "nat", lacking, fileName);
            WriteNames(json, root, lacking);
            json.WriteEndObject();
        }

        return lacking.Count == 0 ? text.WrittenSpan.ToArray()
            : throw new VmmException(NetworkObjectErrors.Lacking, $"{VisibleText.Quote(fileName, 200)}: {string.Join(", ", lacking.Distinct().Take(10).Select(what => VisibleText.Escape(what)))}");
    }

    private static void WriteAddresses(Utf8JsonWriter json, XElement ip, bool hasUplink, List<string> lacking, string fileName)
    {
        Check(ip, lacking, ["dhcp"], ["address", "netmask", "prefix", "family", "localPtr"]);
        uint own = Address(ip.Attribute("address")?.Value, fileName);
        int bits = ip.Attribute("prefix")?.Value is { } prefix && int.TryParse(prefix, NumberStyles.None, CultureInfo.InvariantCulture, out int given) && given is > 0 and <= 32 ? given
            : uint.PopCount(Address(ip.Attribute("netmask")?.Value, fileName)) is var count ? (int)count : 0;
        uint mask = bits == 0 ? 0 : uint.MaxValue << (32 - bits);
        json.WriteString("subnet", $"{Text(own & mask)}/{bits}");
        // There it is the way out, the nameserver and who gives addresses; here the way out, and the other two have one of their own.
        json.WriteString(hasUplink ? "gateway" : "server", Text(own));
        if (ip.Element("dhcp") is not { } dhcp)
            return;
        Check(dhcp, lacking, ["range", "host"], []);
        var ranges = dhcp.Elements("range").ToList();
        if (ranges.Count > 1)
            lacking.Add("several <range> of <dhcp>");
        if (ranges.Count > 0)
        {
            Check(ranges[0], lacking, [], ["start", "end"]);
            json.WriteStartObject("dhcp");
            json.WriteString("first", ranges[0].Attribute("start")?.Value);
            json.WriteString("last", ranges[0].Attribute("end")?.Value);
            json.WriteEndObject();
        }

        json.WriteStartArray("machines");
        foreach (var host in dhcp.Elements("host"))
        {
            Check(host, lacking, [], ["mac", "name", "ip"]);
            if (host.Attribute("mac") is null || host.Attribute("name") is null)
                lacking.Add("<host> of <dhcp> without mac or name");
            json.WriteStartObject();
            json.WriteString("name", host.Attribute("name")?.Value);
            json.WriteString("mac", host.Attribute("mac")?.Value);
            json.WriteString("address", host.Attribute("ip")?.Value);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteNames(Utf8JsonWriter json, XElement root, List<string> lacking)
    {
        if (root.Element("domain") is { } domain)
        {
            Check(domain, lacking, [], ["name", "localOnly"]);
            json.WriteString("domain", domain.Attribute("name")?.Value);
        }

        if (root.Element("mtu") is { } mtu && int.TryParse(mtu.Attribute("size")?.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int size))
            json.WriteNumber("mtu", size);
        if (root.Element("dns") is not { } dns)
            return;
        Check(dns, lacking, ["host"], []);
        json.WriteStartObject("names");
        foreach (var host in dns.Elements("host"))
        {
            Check(host, lacking, ["hostname"], ["ip"]);
            foreach (var name in host.Elements("hostname"))
                json.WriteString(name.Value.Trim(), host.Attribute("ip")?.Value);
        }

        json.WriteEndObject();
    }

    /// <summary>Names what an element has beyond what is known.</summary>
    private static void Check(XElement element, List<string> lacking, string[] elements, string[] attributes)
    {
        lacking.AddRange(element.Elements().Where(child => !elements.Contains(child.Name.LocalName)).Select(child => $"<{child.Name.LocalName}> in <{element.Name.LocalName}>"));
        lacking.AddRange(element.Attributes().Where(attribute => !attribute.IsNamespaceDeclaration && !attributes.Contains(attribute.Name.LocalName)).Select(attribute => $"{attribute.Name.LocalName}= of <{element.Name.LocalName}>"));
    }

    private static XElement Load(ReadOnlyMemory<byte> xml, string fileName)
    {
        try
        {
            var settings = new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null, MaxCharactersInDocument = MostCharacters, IgnoreComments = true, IgnoreProcessingInstructions = true };
            // Once for its depth: a tree of elements is walked by calls.
            using (var depth = XmlReader.Create(new StringReader(Encoding.UTF8.GetString(xml.Span).TrimStart('\uFEFF')), settings))
            {
                while (depth.Read())
                {
                    if (depth.Depth > MostDepth)
                        throw Bad(fileName, $"it is deeper than {MostDepth} levels");
                }
            }

            using var reader = XmlReader.Create(new StringReader(Encoding.UTF8.GetString(xml.Span).TrimStart('\uFEFF')), settings);
            return XElement.Load(reader);
        }
        catch (XmlException e)
        {
            throw Bad(fileName, string.Create(CultureInfo.InvariantCulture, $"line {e.LineNumber}, column {e.LinePosition}: no XML that is read here"), e);
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
