using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.X86.Interrupts;
using Kvm.X86.Translate;

namespace Kvm.X86.Engine;

/// <summary>
/// What the processors of one software machine share: memory, buses, CPUID, and the knowledge of which pages hold decoded code.
/// Make it, then one <see cref="SoftProcessor"/> for each processor, then run each on a thread of its own.
/// </summary>
public sealed class SoftMachine
{
    private readonly List<SoftProcessor> _processors = [];

    /// <summary>Takes the machine's parts.</summary>
    /// <param name="memory">Guest memory; it outlives the processors.</param>
    /// <param name="pio">Ports.</param>
    /// <param name="mmio">Devices at memory addresses; memory comes first where both claim an address.</param>
    /// <param name="cpuid">What CPUID answers; complete before the first processor runs.</param>
    /// <param name="hostCode">Sixteen-byte compare-exchange; may be null on a machine with one processor.</param>
    public SoftMachine(GuestMemory memory, IoBus pio, IoBus mmio, CpuidTable cpuid, IHostCode? hostCode = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pio);
        ArgumentNullException.ThrowIfNull(mmio);
        ArgumentNullException.ThrowIfNull(cpuid);
        Memory = memory;
        Pio = pio;
        Mmio = mmio;
        Cpuid = cpuid;
        HostCode = hostCode;
        Code = new CodePages(memory);
        Tables = new CodePages(memory);
        memory.WriteObserver = NotifyWritten;
    }

    /// <summary>Guest memory.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Ports.</summary>
    public IoBus Pio { get; }

    /// <summary>Memory-mapped devices.</summary>
    public IoBus Mmio { get; }

    /// <summary>The processor model.</summary>
    public CpuidTable Cpuid { get; }

    /// <summary>What the host's processor does for the guest's.</summary>
    public IHostCode? HostCode { get; }

    /// <summary>
    /// Makes memory for translated code, one for each processor; it is disposed with the processor. Null, or a result of null:
    /// everything is interpreted. Set before the first processor is added.
    /// </summary>
    public Func<ICodeMemory?>? CodeMemory { get; init; }

    /// <summary>Executions after which a block of code is translated, from 1.</summary>
    public int TranslateAfter { get; init; } = Tier.DefaultThreshold;

    /// <summary>
    /// Counts how often translated blocks are executed and keeps what <see cref="SoftProcessor.ReadTranslations"/> shows, at the cost of an
    /// addition a block. Set before the first processor is added.
    /// </summary>
    public bool KeepTranslations { get; init; }

    /// <summary>
    /// Not null: a machine whose runs repeat exactly (<see cref="Kvm.X86.Deterministic.DeterministicRunner"/>); RDRAND and RDSEED follow
    /// from this seed. Set before the first processor is added.
    /// </summary>
    public ulong? Deterministic { get; init; }

    /// <summary>
    /// Whether processors translate by shadow page tables (docs/engine.md, "Shadow paging") instead of the guest's own. Set before the
    /// first processor is added.
    /// </summary>
    public bool ShadowPaging { get; init; }

    internal CodePages Code { get; }

    /// <summary>The pages written since somebody last looked; null unless <see cref="TrackWrites"/> was called.</summary>
    public Paging.DirtyPages? Dirty { get; private set; }

    /// <summary>Notes written pages from here on, at the cost of a fill of the translation buffer for the first write to each. While nothing runs.</summary>
    public void TrackWrites()
    {
        if (Dirty != null)
            return;
        Dirty = new Paging.DirtyPages(Memory);
        foreach (var processor in _processors)
            processor.TrackWrites(Dirty);
    }

    /// <summary>Has the next write to each page noted, also to one that was written before; what is noted stays. While nothing runs.</summary>
    public void TrackWritesAnew()
    {
        foreach (var processor in _processors)
            processor.TrackWrites(Dirty);
    }

    /// <summary>Notes no more. While nothing runs.</summary>
    public void StopTrackingWrites()
    {
        Dirty = null;
        TrackWritesAnew();
    }

    /// <summary>Guest page tables that processors shadow.</summary>
    internal CodePages Tables { get; }

    /// <summary>
    /// Makes the next processor; its APIC id is its number. Not to be called once one is running.
    /// </summary>
    /// <param name="chips">Its local APIC and what is behind; null for a processor without interrupts.</param>
    public SoftProcessor AddProcessor(IInterruptSource? chips)
    {
        var processor = new SoftProcessor(this, _processors.Count, chips);
        _processors.Add(processor);
        return processor;
    }

    /// <summary>
    /// Something other than a processor of this machine wrote guest memory (a device, a loader, a debugger): code decoded from those
    /// bytes is dropped before any processor runs it again. Safe from any thread; cheap where there is no code.
    /// </summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes.</param>
    public void NotifyWritten(ulong address, ulong length)
    {
        Dirty?.Mark(address, length);
        for (ulong page = address & ~0xfffUL; length != 0 && page - (address & ~0xfffUL) < length + (address & 0xfff); page += 4096)
        {
            ulong owners = Code.Owners(page);
            if (owners != 0)
                Tell(owners, new CodeNotice(CodeNoticeKind.Written, page, ulong.MaxValue), -1);
            TellTables(page, ulong.MaxValue, -1);
        }
    }

    /// <summary>Tells the processors that shadow a page table, but one, that it was written.</summary>
    internal void TellTables(ulong page, ulong granules, int except)
    {
        ulong owners = Tables.Owners(page);
        if (owners == 0)
            return;
        foreach (var processor in _processors)
        {
            if (processor.Index != except && ((owners >> (processor.Index & 63)) & 1) != 0)
                processor.Context.Shadow?.Post(new CodeNotice(CodeNoticeKind.Written, page, granules));
        }
    }

    /// <summary>Tells the processors of a mask, but one.</summary>
    internal void Tell(ulong owners, CodeNotice notice, int except)
    {
        foreach (var processor in _processors)
        {
            if (processor.Index != except && ((owners >> (processor.Index & 63)) & 1) != 0)
                processor.Post(notice);
        }
    }

    internal bool HasOthers => _processors.Count > 1;
}
