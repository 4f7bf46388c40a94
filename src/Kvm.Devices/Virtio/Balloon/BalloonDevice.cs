using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Balloon;

/// <summary>
/// A traditional memory balloon (virtio 1.2, 5.5): the guest gives pages away when asked to, takes them back when it needs them, reports
/// free pages by itself, and tells how its memory is used.
/// </summary>
public sealed class BalloonDevice : VirtioDevice
{
    /// <summary>Bytes of a page, whatever the guest's own pages are (5.5.6).</summary>
    public const uint PageSize = 4096;

    private const ulong StatsQueue = 1 << 1, DeflateOnOom = 1 << 2, PagePoison = 1 << 4, PageReporting = 1 << 5;
    private const int PagesOffset = 0, ActualOffset = 4, PoisonOffset = 12, ConfigLength = 16;
    private const int QueueEntries = 128;

    /// <summary>Pages of one request that are looked at: Linux sends 256 at most.</summary>
    private const int MostPages = 32_768;

    private enum Role
    {
        Inflate,
        Deflate,
        Statistics,
        Reporting,
    }

    private readonly IMemoryReclaimer _reclaimer;
    private readonly ulong?[] _collected = new ulong?[BalloonStatistics.Tags];
    private BalloonStatistics? _statistics;
    private bool _statisticsWanted;
    private long _inflated, _deflated, _reported, _refused, _received;

    /// <summary>Makes a balloon that is empty and asks for nothing.</summary>
    /// <param name="name">The state's name, such as <c>balloon0</c>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="reclaimer">Who takes the pages.</param>
    /// <param name="deflateOnOom">The guest may take pages back when it runs out of memory, without asking.</param>
    public BalloonDevice(string name, GuestMemory memory, IMemoryReclaimer reclaimer, bool deflateOnOom = true)
        : base(name, VirtioDeviceType.Balloon, memory, StatsQueue | PagePoison | PageReporting | (deflateOnOom ? DeflateOnOom : 0),
            [QueueEntries, QueueEntries, QueueEntries, QueueEntries, QueueEntries], ConfigLength)
    {
        ArgumentNullException.ThrowIfNull(reclaimer);
        _reclaimer = reclaimer;
    }

    /// <summary>Bytes the guest is asked to give.</summary>
    public ulong TargetBytes => (ulong)ReadField(PagesOffset) * PageSize;

    /// <summary>Bytes the guest says it has given.</summary>
    public ulong ActualBytes => (ulong)ReadField(ActualOffset) * PageSize;

    /// <summary>Bytes given to the host by inflating.</summary>
    public long InflatedBytes => Volatile.Read(ref _inflated);

    /// <summary>Bytes the guest has announced to use again.</summary>
    public long DeflatedBytes => Volatile.Read(ref _deflated);

    /// <summary>Bytes given to the host by reports of free pages.</summary>
    public long ReportedBytes => Volatile.Read(ref _reported);

    /// <summary>Pages and ranges that are not guest memory, or that the host did not take.</summary>
    public long Refused => Volatile.Read(ref _refused);

    /// <summary>What the guest said last, or null.</summary>
    public BalloonStatistics? Statistics => Volatile.Read(ref _statistics);

    /// <summary>How often the guest has said it: once by itself, then after each <see cref="RequestStatistics"/>.</summary>
    public long StatisticsReceived => Volatile.Read(ref _received);

    /// <summary>Asks the guest to give so much, or (with less than it has given) to take some back. Any thread.</summary>
    /// <param name="bytes">Rounded down to pages; at most 16 TiB.</param>
    public void SetTarget(ulong bytes)
    {
        Span<byte> field = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(field, (uint)Math.Min(bytes / PageSize, uint.MaxValue));
        SetConfig(PagesOffset, field);
        SignalConfig();
    }

    /// <summary>Asks the guest for fresh statistics, which come some time later or never. Any thread.</summary>
    public void RequestStatistics()
    {
        Volatile.Write(ref _statisticsWanted, true);
        WakeQueue((int)Role.Statistics);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        // What was given stays given until it is touched; a driver that starts anew has given nothing.
        SetConfig(ActualOffset, [0, 0, 0, 0]);
        SetConfig(PoisonOffset, [0, 0, 0, 0]);
        Volatile.Write(ref _statisticsWanted, false);
    }

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
        if (data.Length == 4 && offset is ActualOffset or PoisonOffset)
            SetConfig(offset, data);
    }

    /// <summary>
    /// Which queue is which: those whose feature was not negotiated do not exist (5.5.2), and drivers number the rest without gaps. A driver
    /// that leaves the gaps finds its reporting queue at 4 as well.
    /// </summary>
    private Role RoleOf(int index) => index switch
    {
        0 => Role.Inflate,
        1 => Role.Deflate,
        2 when Has(StatsQueue) => Role.Statistics,
        _ => Role.Reporting,
    };

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        switch (RoleOf(index))
        {
            case Role.Inflate:
                GivePages(ref chain);
                break;
            case Role.Deflate:
                // The pages come back by being touched.
                Volatile.Write(ref _deflated, _deflated + chain.ReadableLength / 4 * PageSize);
                break;
            case Role.Statistics:
                return TakeStatistics(queue, ref chain);
            default:
                GiveReported(ref chain);
                break;
        }

        queue.Complete(chain.Token, 0);
        return ChainResult.Taken;
    }

    /// <summary>5.5.6: an array of page numbers. Pages that follow each other go to the host together.</summary>
    private void GivePages(ref DescriptorChain chain)
    {
        Span<byte> entry = stackalloc byte[4];
        ulong start = 0, length = 0;
        for (int i = 0; i < MostPages && chain.Read(entry) == 4; i++)
        {
            ulong address = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(entry) * PageSize;
            if (length != 0 && address == start + length)
            {
                length += PageSize;
                continue;
            }

            // Linux offers pages in descending order as often as in ascending.
            if (length != 0 && start != 0 && address == start - PageSize)
            {
                (start, length) = (address, length + PageSize);
                continue;
            }

            Give(start, length, ref _inflated);
            (start, length) = (address, PageSize);
        }

        Give(start, length, ref _inflated);
    }

    /// <summary>5.5.6.7: each element is free memory. With a poison other than zero its content must not change (5.5.6.7.2).</summary>
    private void GiveReported(ref DescriptorChain chain)
    {
        if (!Has(PageReporting) || (Has(PagePoison) && ReadField(PoisonOffset) != 0))
            return;
        foreach (ref readonly var buffer in chain.Writable)
        {
            // Whole pages inside the element; an element that is not memory is empty here.
            if (buffer.Length >= PageSize && Memory.TryAddress(in buffer, out ulong address))
            {
                ulong first = (address + (PageSize - 1)) & ~(ulong)(PageSize - 1);
                ulong end = (address + (uint)buffer.Length) & ~(ulong)(PageSize - 1);
                if (end > first)
                    Give(first, end - first, ref _reported);
            }
        }
    }

    private void Give(ulong start, ulong length, ref long counter)
    {
        if (length == 0)
            return;
        if (Memory.TryPointer(start, length, writable: true, out _) && _reclaimer.Discard(start, length))
            Volatile.Write(ref counter, counter + (long)length);
        else if (length > PageSize)
            GiveOneByOne(start, length, ref counter);
        else
            Volatile.Write(ref _refused, _refused + 1);
    }

    /// <summary>A run of which some page is not memory: the others are given all the same.</summary>
    private void GiveOneByOne(ulong start, ulong length, ref long counter)
    {
        for (ulong done = 0; done < length; done += PageSize)
            Give(start + done, PageSize, ref counter);
    }

    /// <summary>
    /// 5.5.6.3: the driver leaves one buffer with its statistics; using it asks for the next. Read and put back it stays the driver's last word
    /// until somebody wants a newer.
    /// </summary>
    private ChainResult TakeStatistics(VirtQueue queue, ref DescriptorChain chain)
    {
        if (Volatile.Read(ref _statisticsWanted))
        {
            Volatile.Write(ref _statisticsWanted, false);
            queue.Complete(chain.Token, 0);
            return ChainResult.Taken;
        }

        Span<byte> entry = stackalloc byte[BalloonStatistics.EntrySize];
        Array.Clear(_collected);
        // As many as there are tags; repetitions and unknown tags beyond that are not looked at for ever.
        for (int i = 0; i < 4 * BalloonStatistics.Tags && chain.Read(entry) == BalloonStatistics.EntrySize; i++)
            BalloonStatistics.Collect(entry, _collected);
        Volatile.Write(ref _statistics, BalloonStatistics.From(_collected));
        Volatile.Write(ref _received, _received + 1);
        return ChainResult.Later;
    }

    private uint ReadField(int offset)
    {
        Span<byte> field = stackalloc byte[4];
        GetConfig(offset, field);
        return BinaryPrimitives.ReadUInt32LittleEndian(field);
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U32(ReadField(PagesOffset));
        writer.U32(ReadField(ActualOffset));
        writer.U32(ReadField(PoisonOffset));
    }

    /// <inheritdoc/>
    protected override bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features)
    {
        Span<byte> fields = stackalloc byte[12];
        for (int i = 0; i < 3; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(fields[(i * 4)..], reader.U32());
        if (!reader.Complete)
            return false;
        SetConfig(PagesOffset, fields[..4]);
        SetConfig(ActualOffset, fields.Slice(4, 4));
        SetConfig(PoisonOffset, fields.Slice(8, 4));
        return true;
    }
}
