using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Control;

/// <summary>Where vCPUs are, by asking them now and then: each is made to leave the guest for a moment. Used by one thread.</summary>
internal sealed class RipSampler(IReadOnlyList<VcpuThread> vcpus)
{
    /// <summary>Different places kept at most; a guest that is everywhere is nowhere hot.</summary>
    private const int MostPlaces = 4096;

    private readonly Dictionary<ulong, long> _places = [];

    /// <summary>Samples so far.</summary>
    public long Samples { get; private set; }

    /// <summary>Takes the answers to the last question and asks again.</summary>
    public void Tick()
    {
        foreach (var vcpu in vcpus)
        {
            if (vcpu.TryTakeSample(out ulong rip))
            {
                Samples++;
                if (_places.Count < MostPlaces || _places.ContainsKey(rip))
                    _places[rip] = _places.GetValueOrDefault(rip) + 1;
            }

            vcpu.RequestSample();
        }
    }

    /// <summary>The places vCPUs were at most often, most often first.</summary>
    public IEnumerable<(ulong Rip, long Samples)> Hottest(int most) =>
        _places.OrderByDescending(place => place.Value).ThenBy(place => place.Key).Take(most).Select(place => (place.Key, place.Value));

    /// <summary>Begins anew.</summary>
    public void Clear()
    {
        _places.Clear();
        Samples = 0;
    }
}
