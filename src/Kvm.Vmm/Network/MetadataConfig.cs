using System.Globalization;
using System.Net;
using System.Text;
using Kvm.Devices.Net.Metadata;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network;

/// <summary>What a guest may ask of itself at its cards, as Firecracker's MMDS answers it. Immutable.</summary>
public sealed record MetadataConfig
{
    /// <summary>The file with the answers, an object of JSON; null for those of <see cref="Json"/>.</summary>
    public string? Path { get; init; }

    /// <summary>The answers themselves, where there is no file: an object of JSON, or null for none.</summary>
    public string? Json { get; init; }

    /// <summary>The protocol.</summary>
    public MetadataVersion Version { get; init; }

    /// <summary>The service's address of IPv4, as a number.</summary>
    public uint Address { get; init; } = MetadataNetwork.DefaultAddress;

    /// <summary>Answers in EC2's plain form whatever is asked for.</summary>
    public bool PlainOnly { get; init; }

    /// <summary>The cards at which it answers, by their names; empty for all of them.</summary>
    public IReadOnlyList<string> Cards { get; init; } = [];

    /// <summary>Understands <c>FILE[,version=V1|V2][,address=ADDRESS]</c>; a comma of the file's name is written twice.</summary>
    /// <param name="text">The text.</param>
    /// <param name="basis">What holds where the text says nothing.</param>
    /// <param name="metadata">What it says.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, MetadataConfig? basis, out MetadataConfig metadata)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Replace(",,", "\0", StringComparison.Ordinal).Split(',');
        metadata = (basis ?? new MetadataConfig()) with { Path = parts[0].Replace('\0', ','), Json = null };
        if (parts[0].Length == 0)
            return "names no file";
        foreach (string part in parts[1..])
        {
            switch (part.Split('=', 2))
            {
                case ["version", var version] when SettingNames.IndexOf(SettingNames.MetadataVersions, version) is >= 0 and var index:
                    metadata = metadata with { Version = (MetadataVersion)index };
                    break;
                case ["address", var address] when ParseAddress(address) is { } number:
                    metadata = metadata with { Address = number };
                    break;
                default:
                    return $"has the part {VisibleText.Quote(part, 40)}, not one of version=V1, version=V2, address=ADDRESS; addresses are 169.254.1.0 to 169.254.254.255";
            }
        }

        return null;
    }

    /// <summary>A link-local address (RFC 3927, 2.1: without the first and the last 256) as a number; null for any other text.</summary>
    internal static uint? ParseAddress(string text)
    {
        if (!IPAddress.TryParse(text, out var address) || address.ToString() != text || address.GetAddressBytes() is not [169, 254, >= 1 and <= 254, _] bytes)
            return null;
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes);
    }

    /// <summary>The address as text.</summary>
    public string AddressText => string.Create(CultureInfo.InvariantCulture, $"{Address >> 24}.{Address >> 16 & 255}.{Address >> 8 & 255}.{Address & 255}");

    /// <summary>True if the service answers at this card.</summary>
    internal bool IsAt(string card) => Cards.Count == 0 || Cards.Contains(card);

    /// <summary>What is wrong with it in a machine with these cards, or null.</summary>
    internal string? Problem(IReadOnlyList<NetConfig> cards)
    {
        if (cards.Count == 0)
            return "metadata was asked for, and no network card at which a guest could ask for it";
        foreach (string name in Cards)
        {
            if (!cards.Select((card, i) => card.NameAt(i)).Contains(name))
                return $"metadata is for the network card {VisibleText.Quote(name, 40)}, which there is none of";
        }

        return Json is { } json && MetadataTree.Parse(Encoding.UTF8.GetBytes(json), out _) is { } problem ? $"the metadata {problem}" : null;
    }

    /// <summary>Reads the answers.</summary>
    /// <exception cref="VmmException">The file cannot be read, or is not what it should be.</exception>
    internal MetadataTree Read()
    {
        byte[] json = Path is null ? Encoding.UTF8.GetBytes(Json ?? "{}") : ReadFile(Path);
        return MetadataTree.Parse(json, out var tree) is { } problem
            ? throw new VmmException(NetworkErrors.BadMetadata, $"{VisibleText.Quote(Path ?? "mmds")} {problem}")
            : tree!;
    }

    private static byte[] ReadFile(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            // A pipe or a device may have no end: a byte too many is enough to say so.
            byte[] bytes = new byte[MetadataTree.MostBytes + 1];
            int read = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return bytes[..read];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new VmmException(NetworkErrors.BadMetadata, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }
}
