namespace Kvm.Interop;

/// <summary>
/// A vCPU's ring of dirtied pages (KVM_CAP_DIRTY_LOG_RING). One thread harvests; then <see cref="KvmVm.ResetDirtyRings"/> gives the entries back.
/// </summary>
public sealed unsafe class KvmDirtyRing : IDisposable
{
    private readonly MappingHandle _mapping;
    private readonly KvmDirtyGfn* _entries;
    private readonly uint _mask;
    private uint _next;

    internal KvmDirtyRing(int vcpuFd, int bytes)
    {
        _mapping = MappingHandle.Map(
            (nuint)bytes,
            Libc.PROT_READ | Libc.PROT_WRITE,
            Libc.MAP_SHARED,
            vcpuFd,
            (long)KvmConst.KVM_DIRTY_LOG_PAGE_OFFSET * Environment.SystemPageSize,
            "dirty ring");
        _entries = (KvmDirtyGfn*)_mapping.Address;
        // KVM insists on a power of two.
        _mask = ((uint)bytes / (uint)sizeof(KvmDirtyGfn)) - 1;
    }

    /// <summary>How many entries the ring has.</summary>
    public int Capacity => (int)_mask + 1;

    /// <summary>Takes up to <paramref name="into"/>'s length of new entries, marks them harvested and returns their number.</summary>
    public int Harvest(Span<KvmDirtyGfn> into)
    {
        ObjectDisposedException.ThrowIf(_mapping.IsClosed, this);
        int taken = 0;
        while (taken < into.Length)
        {
            KvmDirtyGfn* entry = _entries + (_next & _mask);
            // The flag is KVM's release of the other fields (api.rst 8.29), so read it with acquire semantics.
            if ((Volatile.Read(ref entry->Flags) & KvmConst.KVM_DIRTY_GFN_F_DIRTY) == 0)
            {
                break;
            }

            into[taken++] = *entry;
            Volatile.Write(ref entry->Flags, KvmConst.KVM_DIRTY_GFN_F_RESET);
            _next++;
        }

        return taken;
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();
}

/// <summary>The ring of writes KVM queued instead of ending the run; shared by the VM's vCPUs. One thread drains.</summary>
public sealed unsafe class KvmCoalescedMmioRing
{
    private readonly KvmCoalescedMmioRingHeader* _header;

    internal KvmCoalescedMmioRing(nint address)
    {
        _header = (KvmCoalescedMmioRingHeader*)address;
    }

    /// <summary>How many entries the ring has (KVM_COALESCED_MMIO_MAX).</summary>
    public static int Capacity => (Environment.SystemPageSize - sizeof(KvmCoalescedMmioRingHeader)) / sizeof(KvmCoalescedMmio);

    /// <summary>Takes the oldest write; false where there is none.</summary>
    public bool TryTake(out KvmCoalescedMmio write)
    {
        uint first = _header->First;
        if (first == Volatile.Read(ref _header->Last) || first >= (uint)Capacity)
        {
            write = default;
            return false;
        }

        write = ((KvmCoalescedMmio*)(_header + 1))[first];
        Volatile.Write(ref _header->First, (first + 1) % (uint)Capacity);
        return true;
    }
}
