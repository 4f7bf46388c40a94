using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tracing;

/// <summary>Which exits a trace shows. Immutable.</summary>
public sealed record TraceFilter
{
    /// <summary>Names of reasons (<c>io</c>, <c>mmio</c> …); empty for all.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];

    /// <summary>Ports; empty for all. With it only exits to ports are shown, and to <see cref="Addresses"/>.</summary>
    public IReadOnlyList<AddressRange> Ports { get; init; } = [];

    /// <summary>Guest-physical addresses of devices; empty for all.</summary>
    public IReadOnlyList<AddressRange> Addresses { get; init; } = [];

    /// <summary>The number of the first exit shown, from 1.</summary>
    public long From { get; init; } = 1;

    /// <summary>How many are shown at most; then the trace ends.</summary>
    public long Count { get; init; } = long.MaxValue;

    /// <summary>The names there are, those of this architecture.</summary>
    public static IReadOnlyList<string> ReasonNames { get; } =
        [.. Enum.GetValues<KvmExit>().Select(ExitNames.Of).Where(name => !name.StartsWith("reason-", StringComparison.Ordinal))];

    /// <summary>True if an exit is to be shown, its number apart.</summary>
    internal bool Shows(KvmExit reason, ulong address)
    {
        if (Only.Count > 0 && !Only.Contains(ExitNames.Of(reason)))
            return false;
        if (Ports.Count == 0 && Addresses.Count == 0)
            return true;
        return reason switch
        {
            KvmExit.Io => Holds(Ports, address),
            KvmExit.Mmio => Holds(Addresses, address),
            _ => false,
        };
    }

    private static bool Holds(IReadOnlyList<AddressRange> ranges, ulong address)
    {
        for (int i = 0; i < ranges.Count; i++)
        {
            if (address - ranges[i].Start < ranges[i].Size)
                return true;
        }

        return false;
    }
}
