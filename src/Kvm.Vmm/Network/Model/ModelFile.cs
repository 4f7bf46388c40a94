using System.Text.Json.Serialization;

namespace Kvm.Vmm.Network.Model;

/// <summary>A network's description as it stands in its file; what is not there is null. <see cref="NetworkModel"/> says what it means.</summary>
internal sealed record ModelFile
{
    public string? Name { get; init; }

    public string? Subnet { get; init; }

    public string? Uplink { get; init; }

    public string? Gateway { get; init; }

    public string? Server { get; init; }

    public string? Nameserver { get; init; }

    public string? Domain { get; init; }

    public int? Mtu { get; init; }

    public DhcpFile? Dhcp { get; init; }

    public IReadOnlyList<MachineFile>? Machines { get; init; }

    public IReadOnlyDictionary<string, string>? Names { get; init; }

    public string? Default { get; init; }

    public IReadOnlyList<string>? Rules { get; init; }

    public IReadOnlyList<ServiceFile>? Services { get; init; }

    public IReadOnlyList<PublishFile>? Publish { get; init; }

    public IReadOnlyList<string>? AllowHost { get; init; }
}

/// <summary>Addresses for whoever has none of its own.</summary>
internal sealed record DhcpFile
{
    public string? First { get; init; }

    public string? Last { get; init; }

    public int? LeaseSeconds { get; init; }
}

/// <summary>A machine.</summary>
internal sealed record MachineFile
{
    public string? Name { get; init; }

    public IReadOnlyList<string>? Labels { get; init; }

    public string? Mac { get; init; }

    public string? Address { get; init; }

    public int? Vlan { get; init; }

    public bool? Isolated { get; init; }

    public string? IsolationGroup { get; init; }

    public int? Weight { get; init; }
}

/// <summary>An address that stands for several machines.</summary>
internal sealed record ServiceFile
{
    public string? Name { get; init; }

    public string? Address { get; init; }

    public string? Port { get; init; }

    public int? TargetPort { get; init; }

    public string? Backends { get; init; }

    public IReadOnlyDictionary<string, int>? Weights { get; init; }
}

/// <summary>A port of the host that somebody of the network serves.</summary>
internal sealed record PublishFile
{
    public string? Host { get; init; }

    public string? To { get; init; }

    public string? Port { get; init; }
}

/// <summary>Reads <see cref="ModelFile"/> without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, MaxDepth = ModelReader.MaxDepth)]
[JsonSerializable(typeof(ModelFile))]
internal sealed partial class ModelJson : JsonSerializerContext;
