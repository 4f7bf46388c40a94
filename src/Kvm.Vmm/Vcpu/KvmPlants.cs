using Kvm.Devices.Memory;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// Breakpoints of one machine beyond what debug registers hold: <c>int3</c> in the guest's code. They are in memory only while the guest
/// runs, so whoever looks while it stands still sees the guest's own code.
/// </summary>
/// <remarks>Changed while the machine stands still, read by its vCPU threads.</remarks>
internal sealed class KvmPlants(GuestMemory memory)
{
    private const byte Int3 = 0xcc;

    private readonly Dictionary<ulong, (ulong Physical, byte Original)> _plants = [];

    /// <summary>Replaces them. The first vCPU says where they are: they are in memory, which all share.</summary>
    /// <param name="points">Linear addresses, and where they lead.</param>
    public void Set(IEnumerable<(ulong Linear, ulong Physical)> points)
    {
        _plants.Clear();
        foreach (var (linear, physical) in points)
            _plants[linear] = (physical, 0);
    }

    /// <summary>Whether there is none.</summary>
    public bool IsEmpty => _plants.Count == 0;

    /// <summary>Whether code of this linear address is one.</summary>
    public bool Contains(ulong linear) => _plants.ContainsKey(linear);

    /// <summary>Puts them into memory: the guest is about to run.</summary>
    public void Plant()
    {
        foreach (ulong linear in _plants.Keys.ToArray())
        {
            ulong physical = _plants[linear].Physical;
            if (memory.TryRead(physical, out byte original) && memory.TryWrite(physical, Int3))
                _plants[linear] = (physical, original);
        }
    }

    /// <summary>Takes them out; a byte that the guest wrote meanwhile stays.</summary>
    public void Lift()
    {
        foreach (var (physical, original) in _plants.Values)
        {
            if (memory.TryRead(physical, out byte now) && now == Int3 && original != 0)
                memory.TryWrite(physical, original);
        }
    }
}
