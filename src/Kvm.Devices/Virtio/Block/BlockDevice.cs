using System.Buffers.Binary;
using System.Numerics;
using Kvm.Devices.Block;
using Kvm.Devices.Limits;
using Kvm.Devices.Memory;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Block;

/// <summary>What a block device is besides its image.</summary>
public sealed record BlockOptions
{
    /// <summary>What it promises of writes.</summary>
    public DiskCache Cache { get; init; } = DiskCache.WriteBack;

    /// <summary>Refuses writes whatever the image allows.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Number of request queues, 1 to <see cref="VirtioDevice.MaxQueues"/>; each may run on a thread of its own.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>The most entries of a queue, a power of two from 4 to 1024.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>What GET_ID gives: up to 20 ASCII characters, by which guests name the disk.</summary>
    public string Id { get; init; } = "";

    /// <summary>How fast requests may come; what comes faster waits in the driver's rings.</summary>
    public IoLimits Limits { get; init; } = IoLimits.None;

    /// <summary><see cref="BlockDevice.Limit"/> is allowed.</summary>
    public bool LimitsMayChange { get; init; }

    /// <summary>The clock of <see cref="Limits"/>.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}

/// <summary>Counters of a block device.</summary>
/// <param name="Reads">Read requests done.</param>
/// <param name="Writes">Write requests done.</param>
/// <param name="Flushes">Flushes done.</param>
/// <param name="Errors">Requests answered with an error.</param>
/// <param name="BytesRead">Bytes the guest read.</param>
/// <param name="BytesWritten">Bytes the guest wrote.</param>
public readonly record struct BlockCounters(long Reads, long Writes, long Flushes, long Errors, long BytesRead, long BytesWritten);

/// <summary>A virtio block device (virtio 1.2, 5.2).</summary>
public sealed class BlockDevice : VirtioDevice, IDisposable
{
    // Offsets in struct virtio_blk_config (5.2.4).
    private const int SegMaxOffset = 12, BlockSizeOffset = 20, TopologyOffset = 24, WritebackOffset = 32, QueuesOffset = 34,
        DiscardOffset = 36, WriteZeroesOffset = 48, ConfigLength = 60;

    private readonly IDiskImage _image;
    private readonly BlockOptions _options;
    private readonly BlockExecutor _executor;
    private readonly BlockLimits _limits;
    private readonly PerQueue[] _perQueue;
    private readonly RateLimiter? _limiter;
    private volatile bool _stable;

    /// <summary>Makes a device; the image stays the caller's to dispose of.</summary>
    /// <param name="name">The state's name, such as <c>disk0</c>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="image">What is on the disk.</param>
    /// <param name="options">The rest.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public BlockDevice(string name, GuestMemory memory, IDiskImage image, BlockOptions options)
        : base(name, VirtioDeviceType.Block, memory, OfferedBy(image, options), SizesOf(options), ConfigLength)
    {
        (_image, _options) = (image, options);
        bool readOnly = options.ReadOnly || image.IsReadOnly;
        _limits = new BlockLimits(image.Length, readOnly, image.MaxZeroes / IDiskImage.SectorSize);
        _executor = new BlockExecutor(image, options.Cache, options.Id);
        _perQueue = new PerQueue[options.Queues];
        var queues = image.OpenQueues(options.Queues, options.QueueSize);
        IsAsynchronous = queues.Count != 0;
        var limiter = _limiter = options.Limits == IoLimits.None && !options.LimitsMayChange ? null : new RateLimiter(options.Limits, options.Time);
        IsLimited = limiter is not null;
        for (int i = 0; i < _perQueue.Length; i++)
        {
            int queue = i;
            _perQueue[i] = new PerQueue(IsAsynchronous ? new BlockPipeline(queues[i], memory, options.QueueSize) : null,
                limiter is null ? null : new HeldQueue(limiter, options.Time, () => WakeQueue(queue)));
        }

        FillConfig();
    }

    /// <summary>
    /// True if requests are under way while the queue goes on with others: whoever runs a queue is then also woken when some have ended, and
    /// processes it again.
    /// </summary>
    public bool IsAsynchronous { get; }

    /// <summary>The most requests of one queue that were under way at once; 0 where it is not <see cref="IsAsynchronous"/>.</summary>
    public int MostUnderWay => _perQueue.Max(q => q.Pipeline?.MostUnderWay ?? 0);

    /// <summary>True if it has <see cref="BlockOptions.Limits"/>, or may be given some.</summary>
    public bool IsLimited { get; }

    /// <summary>Has so many thousandths of its limits hold from now on, where it has any. Any thread.</summary>
    /// <param name="bandwidth">Of the bytes, 1 to 1,000.</param>
    /// <param name="operations">Of the requests, 1 to 1,000.</param>
    public void Restrict(int bandwidth, int operations)
    {
        if (_limiter is null)
            return;
        _limiter.Restrict(bandwidth, operations);
        AskAgain();
    }

    /// <summary>Has other limits hold from now on, where they may change. Any thread.</summary>
    /// <param name="limits">The limits.</param>
    public void Limit(IoLimits limits)
    {
        if (!_options.LimitsMayChange)
            return;
        _limiter!.Change(limits);
        AskAgain();
    }

    private void AskAgain()
    {
        foreach (var queue in _perQueue)
            queue.Limit!.AskAgain();
    }

    /// <summary>Requests that a limit held back for a time. Any thread.</summary>
    public long Held => _perQueue.Sum(q => q.Limit?.Held ?? 0);

    /// <summary>What its image counts of itself. Any thread.</summary>
    public IReadOnlyList<(string Name, long Value)> ImageCounters => _image.Counters;

    /// <summary>Ends the timers of its limits: from then on nothing of it runs unless somebody else runs it.</summary>
    public void Dispose()
    {
        foreach (var queue in _perQueue)
            queue.Limit?.Dispose();
    }

    /// <summary>What was done so far, summed over the queues.</summary>
    public BlockCounters Counters
    {
        get
        {
            BlockCounters sum = default;
            foreach (var queue in _perQueue)
            {
                var one = queue.Read();
                sum = new BlockCounters(sum.Reads + one.Reads, sum.Writes + one.Writes, sum.Flushes + one.Flushes,
                    sum.Errors + one.Errors, sum.BytesRead + one.BytesRead, sum.BytesWritten + one.BytesWritten);
            }

            return sum;
        }
    }

    private static ulong OfferedBy(IDiskImage image, BlockOptions options)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(options);
        ulong features = BlockFeature.SegMax | BlockFeature.BlockSize | BlockFeature.Topology | BlockFeature.Flush;
        // 5.2.5.2: the cache mode can be switched where it is ours to switch.
        if (options.Cache is DiskCache.WriteBack or DiskCache.None)
            features |= BlockFeature.ConfigWriteback;
        if (options.Queues > 1)
            features |= BlockFeature.MultiQueue;
        if (options.ReadOnly || image.IsReadOnly)
            return features | BlockFeature.ReadOnly;
        return features | BlockFeature.WriteZeroes | (image.CanDiscard ? BlockFeature.Discard : 0);
    }

    private static int[] SizesOf(BlockOptions options)
    {
        if (options.QueueSize is < 4 or > 1024)
            throw new ArgumentException($"a queue of {options.QueueSize} entries; 4 to 1024 are possible", nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Queues, 1, nameof(options));
        var sizes = new int[options.Queues];
        Array.Fill(sizes, options.QueueSize);
        return sizes;
    }

    private void FillConfig()
    {
        Span<byte> config = stackalloc byte[ConfigLength];
        config.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(config, _image.Length / IDiskImage.SectorSize);
        // Header and status take an element each; a chain has no more than the queue has entries.
        BinaryPrimitives.WriteInt32LittleEndian(config[SegMaxOffset..], _options.QueueSize - 2);
        BinaryPrimitives.WriteInt32LittleEndian(config[BlockSizeOffset..], _image.BlockSize);
        config[TopologyOffset] = (byte)BitOperations.Log2((uint)(_image.PhysicalBlockSize / _image.BlockSize));
        BinaryPrimitives.WriteUInt16LittleEndian(config[(TopologyOffset + 2)..], (ushort)(_image.PhysicalBlockSize / _image.BlockSize));
        config[WritebackOffset] = _options.Cache == DiskCache.WriteThrough ? (byte)0 : (byte)1;
        BinaryPrimitives.WriteUInt16LittleEndian(config[QueuesOffset..], (ushort)_options.Queues);
        foreach (int offset in (ReadOnlySpan<int>)[DiscardOffset, WriteZeroesOffset])
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[offset..], _limits.MaxRangeSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(config[(offset + 4)..], BlockRequest.MaxRanges);
        }

        BinaryPrimitives.WriteInt32LittleEndian(config[(DiscardOffset + 8)..], _image.DiscardAlignment / IDiskImage.SectorSize);
        config[WriteZeroesOffset + 8] = _image.CanDiscard ? (byte)1 : (byte)0;
        SetConfig(0, config);
    }

    /// <inheritdoc/>
    protected override void OnActivate() => SetWriteback(_options.Cache != DiskCache.WriteThrough && Has(BlockFeature.Flush));

    /// <inheritdoc/>
    protected override void OnReset() => SetWriteback(_options.Cache != DiskCache.WriteThrough);

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
        // 5.2.6.1: the driver may choose where both features were negotiated.
        if (offset == WritebackOffset && data.Length == 1 && Has(BlockFeature.ConfigWriteback) && Has(BlockFeature.Flush))
            SetWriteback(data[0] != 0);
    }

    /// <summary>
    /// Without VIRTIO_BLK_F_FLUSH, or with <c>writeback</c> at 0, an acknowledged write is durable (5.2.6.2); 5.2.5.2 demands that the field says so.
    /// </summary>
    private void SetWriteback(bool writeback)
    {
        SetConfig(WritebackOffset, [writeback ? (byte)1 : (byte)0]);
        _stable = !writeback;
    }

    /// <inheritdoc/>
    protected override bool OnQueue(int index, VirtQueue queue)
    {
        if (_perQueue[index].Pipeline is not { } pipeline)
            return Drain(index, queue);
        pipeline.Mute();
        bool more = Drain(index, queue);
        // What has ended since the last look wakes nobody; who polls looks at it by itself.
        return queue.IsPolled ? more : pipeline.Unmute() || more;
    }

    /// <inheritdoc/>
    public override bool AwaitsHost
    {
        get
        {
            foreach (var queue in _perQueue)
            {
                if (queue.Pipeline is { UnderWay: > 0 })
                    return true;
            }

            return false;
        }
    }

    /// <inheritdoc/>
    protected override bool HasEnded(int index) => _perQueue[index].Pipeline is { HasEnded: true };

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        var own = _perQueue[index];
        uint written = 0;
        var room = own.Pipeline is { } pipeline ? pipeline.RangesOf(chain.Token) : own.Ranges;
        var status = BlockRequest.Parse(ref chain, in _limits, room, out var request);
        if (status == BlockStatus.Ok)
        {
            // Nothing was done of it yet: it goes back into the ring, and is read and checked again when it may go.
            if (own.Limit is { } limit && !limit.TryPass(request.DataLength))
                return ChainResult.Later;
            if (own.Pipeline is not null && (request.Type != BlockRequestType.Flush || _executor.Flushes)
                && own.Pipeline.TryBegin(chain.Token, in request, chain.WritableLength, _executor.MakesDurable(_stable)))
                return ChainResult.Taken;
            status = _executor.Execute(in request, _stable, out written);
        }

        Answer(own, queue, new BlockAnswer(chain.Token, request.Type, request.DataLength, written, chain.WritableLength, request.Status, status));
        return ChainResult.Taken;
    }

    /// <inheritdoc/>
    protected override void OnTaken(int index, VirtQueue queue) => AnswerEnded(_perQueue[index], queue);

    /// <inheritdoc/>
    protected override void DrainQueue(int index, VirtQueue queue, bool abandon)
    {
        ArgumentNullException.ThrowIfNull(queue);
        var own = _perQueue[index];
        if (own.Pipeline is not { } pipeline)
            return;
        if (abandon)
        {
            pipeline.Abandon();
            return;
        }

        AnswerEnded(own, queue);
        while (pipeline.UnderWay > 0)
        {
            pipeline.Wait();
            AnswerEnded(own, queue);
        }

        Publish(index, queue);
    }

    /// <summary>Answers what has ended, and hands what was begun to the host.</summary>
    private static void AnswerEnded(PerQueue own, VirtQueue queue)
    {
        while (own.Pipeline is { } pipeline && pipeline.TryTake(out var answer))
        {
            Answer(own, queue, in answer);
            pipeline.Tell(answer.Place);
        }
    }

    private static void Answer(PerQueue own, VirtQueue queue, in BlockAnswer answer)
    {
        own.Count(in answer);
        uint written = answer.Written;
        if (answer.Place.Length != 0)
        {
            answer.Place.Span[0] = (byte)answer.Status;
            // The length counts from the front without gaps: the status is in it only if all before it was written.
            if (written == answer.WritableLength)
                written++;
        }

        queue.Complete(answer.Token, written);
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Bool(!_stable);
    }

    /// <inheritdoc/>
    protected override bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features)
    {
        bool writeback = reader.Bool();
        if (!reader.Complete || (writeback && _options.Cache == DiskCache.WriteThrough))
            return false;
        SetWriteback(writeback);
        return true;
    }

    /// <summary>What a queue has of its own: written under its gate; the counters are read by anybody.</summary>
    private sealed class PerQueue(BlockPipeline? pipeline, HeldQueue? limit)
    {
        /// <summary>Where the image's requests are under way; null where each is carried out before the next is looked at.</summary>
        public readonly BlockPipeline? Pipeline = pipeline;

        /// <summary>What holds requests back that come too fast; null where nothing does.</summary>
        public readonly HeldQueue? Limit = limit;

        /// <summary>Room for a request's ranges, where there is no pipeline.</summary>
        public readonly DiskRange[] Ranges = new DiskRange[BlockRequest.MaxRanges];

        private long _reads, _writes, _flushes, _errors, _bytesRead, _bytesWritten;

        public void Count(in BlockAnswer answer)
        {
            if (answer.Status != BlockStatus.Ok)
                Add(ref _errors, 1);
            else if (answer.Type == BlockRequestType.Read)
                (_, _) = (Add(ref _reads, 1), Add(ref _bytesRead, answer.DataLength));
            else if (answer.Type == BlockRequestType.Write)
                (_, _) = (Add(ref _writes, 1), Add(ref _bytesWritten, answer.DataLength));
            else if (answer.Type == BlockRequestType.Flush)
                Add(ref _flushes, 1);
        }

        public BlockCounters Read() => new(Volatile.Read(ref _reads), Volatile.Read(ref _writes), Volatile.Read(ref _flushes),
            Volatile.Read(ref _errors), Volatile.Read(ref _bytesRead), Volatile.Read(ref _bytesWritten));

        private static long Add(ref long counter, long by)
        {
            long sum = counter + by;
            Volatile.Write(ref counter, sum);
            return sum;
        }
    }
}
