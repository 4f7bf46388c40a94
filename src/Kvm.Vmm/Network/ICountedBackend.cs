using Kvm.Devices.Net;

namespace Kvm.Vmm.Network;

/// <summary>A backend that has something to say in the report, among its card's counters.</summary>
internal interface ICountedBackend : INetworkBackend
{
    /// <summary>Counters by their names there. Any thread.</summary>
    IEnumerable<(string Name, long Value)> Counters { get; }
}
