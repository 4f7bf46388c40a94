using System.Runtime.ExceptionServices;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Gives the content of a chunk.</summary>
/// <param name="region">Number of the region.</param>
/// <param name="chunk">Number of the chunk in it.</param>
/// <param name="to">All of it is to be filled.</param>
public delegate void ChunkSource(int region, long chunk, Span<byte> to);

/// <summary>Takes the content of a chunk.</summary>
/// <param name="region">Number of the region.</param>
/// <param name="chunk">Number of the chunk in it.</param>
/// <param name="content">Valid until it returns.</param>
public delegate void ChunkSink(int region, long chunk, ReadOnlySpan<byte> content);

/// <summary>Something done for every chunk, on several threads, each with one chunk's memory of its own.</summary>
internal sealed class ChunkWork
{
    /// <summary>Chunks that a thread takes at a time: 1 MiB, neighbours in files too.</summary>
    private const int Batch = 16;

    private readonly IReadOnlyList<SnapshotRegion> _regions;
    private readonly Action<int, long, byte[]> _work;
    private readonly Action<ulong, ulong>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly ulong _all;
    private readonly Lock _gate = new();
    private int _region;
    private long _chunk;
    private ulong _done;
    private Exception? _failure;

    private ChunkWork(IReadOnlyList<SnapshotRegion> regions, Action<int, long, byte[]> work, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        (_regions, _work, _progress, _cancellation) = (regions, work, progress, cancellation);
        foreach (var region in regions)
            _all += region.Length;
    }

    /// <summary>Does it. The first failure ends it and is thrown.</summary>
    public static void Run(IReadOnlyList<SnapshotRegion> regions, int threads, Action<int, long, byte[]> work, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(threads);
        var run = new ChunkWork(regions, work, progress, cancellation);
        var others = new Thread[threads - 1];
        for (int i = 0; i < others.Length; i++)
        {
            others[i] = new Thread(run.Work, 256 << 10) { Name = $"chunks{i + 1}", IsBackground = true };
            others[i].Start();
        }

        run.Work();
        foreach (var thread in others)
            thread.Join();
        if (run._failure is { } failure)
            ExceptionDispatchInfo.Throw(failure);
    }

    private void Work()
    {
        byte[] buffer = new byte[SnapshotFormat.ChunkSize];
        try
        {
            while (TryTake(out int region, out long first, out long end))
            {
                for (long chunk = first; chunk < end; chunk++)
                    _work(region, chunk, buffer);
                ulong bytes = (ulong)(end - first - 1) * SnapshotFormat.ChunkSize + (ulong)_regions[region].ChunkLength(end - 1);
                _progress?.Invoke(Interlocked.Add(ref _done, bytes), _all);
            }
        }
        catch (Exception e)
        {
            lock (_gate)
                _failure ??= e;
        }
    }

    private bool TryTake(out int region, out long first, out long end)
    {
        lock (_gate)
        {
            (region, first, end) = (_region, _chunk, 0);
            _cancellation.ThrowIfCancellationRequested();
            if (_failure is not null || _region == _regions.Count)
                return false;
            end = Math.Min(_chunk + Batch, _regions[_region].ChunkCount);
            (_region, _chunk) = end == _regions[_region].ChunkCount ? (_region + 1, 0) : (_region, end);
            return true;
        }
    }
}
