using System.Numerics;
using Kvm.Interop;

namespace Kvm.Vmm.Observation;

/// <summary>What a counted access went to.</summary>
/// <param name="Reason">KVM_EXIT_IO, KVM_EXIT_MMIO, or an MSR's exit.</param>
/// <param name="Address">The port, the guest-physical address below 2^56, or the MSR's number.</param>
/// <param name="IsWrite">The guest wrote.</param>
internal readonly record struct AccessKey(KvmExit Reason, ulong Address, bool IsWrite);

/// <summary>
/// Accesses counted by port, address or MSR in fixed memory: sets of eight entries, in which a new address takes the place of the one
/// counted least. Allocates nothing after it is made. One thread writes, any thread reads.
/// </summary>
internal sealed class AccessTable
{
    private const int Ways = 8;
    private const int SetBits = 6;
    private const int AddressBits = 56;

    private readonly ulong[] _keys = new ulong[Ways << SetBits];
    private readonly long[] _counts = new long[Ways << SetBits];
    private long _others;

    /// <summary>Accesses to addresses that lost their place.</summary>
    public long Others => Volatile.Read(ref _others);

    /// <summary>Counts one access.</summary>
    public void Add(KvmExit reason, ulong address, bool isWrite)
    {
        ulong key = Pack(reason, address, isWrite);
        int first = SetOf(key);
        var keys = _keys.AsSpan(first, Ways);
        int way = keys.IndexOf(key);
        if (way >= 0)
            _counts[first + way]++;
        else
            Replace(first, key);
    }

    /// <summary>Adds the counts to a table.</summary>
    public void AddTo(IDictionary<AccessKey, long> table)
    {
        for (int i = 0; i < _keys.Length; i++)
        {
            long count = Volatile.Read(ref _counts[i]);
            ulong key = Volatile.Read(ref _keys[i]);
            if (count == 0 || key == 0)
                continue;
            var unpacked = Unpack(key);
            table.TryGetValue(unpacked, out long before);
            table[unpacked] = before + count;
        }
    }

    private void Replace(int first, ulong key)
    {
        int least = first;
        for (int i = first + 1; i < first + Ways; i++)
        {
            if (_counts[i] < _counts[least])
                least = i;
        }

        Volatile.Write(ref _others, _others + _counts[least]);
        Volatile.Write(ref _counts[least], 0);
        Volatile.Write(ref _keys[least], key);
        Volatile.Write(ref _counts[least], 1);
    }

    // Reasons are small and not 0 (KVM_EXIT_UNKNOWN has no address), so that no key is 0.
    private static ulong Pack(KvmExit reason, ulong address, bool isWrite) =>
        ((ulong)reason << (AddressBits + 1)) | (isWrite ? 1UL << AddressBits : 0) | (address & ((1UL << AddressBits) - 1));

    private static AccessKey Unpack(ulong key) =>
        new((KvmExit)(key >> (AddressBits + 1)), key & ((1UL << AddressBits) - 1), (key & (1UL << AddressBits)) != 0);

    private static int SetOf(ulong key) => (int)((BitOperations.RotateLeft(key, 32) ^ key) * 0x9e37_79b9_7f4a_7c15 >> (64 - SetBits)) * Ways;
}
