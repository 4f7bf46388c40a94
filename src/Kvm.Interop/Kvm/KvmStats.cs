using System.Runtime.InteropServices;
using System.Text;

namespace Kvm.Interop;

/// <summary>One counter of KVM.</summary>
/// <param name="Name">As KVM calls it ("exits", "halt_wakeup").</param>
/// <param name="Value">Its value; the sum of the buckets for histograms.</param>
public readonly record struct KvmStat(string Name, ulong Value);

/// <summary>KVM's counters of a VM or a vCPU (KVM_CAP_BINARY_STATS_FD; api.rst 4.133). One thread at a time.</summary>
public sealed unsafe class KvmStats : IDisposable
{
    private const int MaxCounters = 4096;

    private readonly FdHandle _handle;
    private readonly (string Name, uint Offset, int Words)[] _counters;
    private readonly byte[] _data;
    private readonly uint _dataOffset;

    internal KvmStats(FdHandle handle)
    {
        _handle = handle;
        KvmStatsHeader header = default;
        ReadAt(new Span<byte>(&header, sizeof(KvmStatsHeader)), 0);
        // The kernel's own numbers, but bounded all the same: they become sizes of allocations.
        int count = (int)Math.Min(header.NumDesc, MaxCounters);
        int nameSize = (int)Math.Min(header.NameSize, 256u);
        _dataOffset = header.DataOffset;
        _counters = new (string, uint, int)[count];
        byte[] descriptor = new byte[sizeof(KvmStatsDesc) + nameSize];
        uint end = 0;
        for (int i = 0; i < count; i++)
        {
            ReadAt(descriptor, header.DescOffset + ((long)i * descriptor.Length));
            KvmStatsDesc fixedPart = MemoryMarshal.Read<KvmStatsDesc>(descriptor);
            ReadOnlySpan<byte> name = descriptor.AsSpan(sizeof(KvmStatsDesc));
            int zero = name.IndexOf((byte)0);
            _counters[i] = (Encoding.ASCII.GetString(zero < 0 ? name : name[..zero]), fixedPart.Offset, fixedPart.Size);
            end = Math.Max(end, fixedPart.Offset + (fixedPart.Size * (uint)sizeof(ulong)));
        }

        _data = new byte[Math.Min(end, 1u << 20)];
    }

    /// <summary>All counters with their values of now.</summary>
    public KvmStat[] Read()
    {
        ReadAt(_data, _dataOffset);
        KvmStat[] stats = new KvmStat[_counters.Length];
        for (int i = 0; i < stats.Length; i++)
        {
            (string name, uint offset, int words) = _counters[i];
            ulong sum = 0;
            foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(_data.AsSpan((int)offset, words * sizeof(ulong))))
            {
                sum = unchecked(sum + word);
            }

            stats[i] = new KvmStat(name, sum);
        }

        return stats;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private void ReadAt(Span<byte> into, long offset)
    {
        fixed (byte* p = into)
        {
            nint got = Libc.pread(_handle.Fd, p, (nuint)into.Length, offset);
            if (got != into.Length)
            {
                throw new KvmException("read (KVM statistics)", got < 0 ? Errno.Last : Errno.EIO);
            }
        }
    }
}
