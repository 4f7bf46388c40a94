using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>
/// Copies a disk into a new image that reads as zeros: what is zeros in the source is left out, whether its file says so or its bytes do. Several threads
/// read, and compress; an image with tables is written in the order of the disk, so that the same source always makes the same image.
/// </summary>
internal sealed class ImageCopier
{
    private const int ChunkBytes = 1 << 20;
    private const int RawGranule = 4096;
    private const int PlainWorkers = 4, MostWorkers = 16;

    private readonly ToolImage _source, _target;
    private readonly Qcow2Compression? _compression;
    private readonly int _granule;
    private readonly Action<ulong>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly object _gate = new();
    private ulong _position, _extentEnd;
    private bool _zeros;
    private int _taken, _turn;
    private Exception? _failure;

    /// <summary>Prepares a copy.</summary>
    /// <param name="source">What is copied.</param>
    /// <param name="target">A new image, at least as long.</param>
    /// <param name="compression">How to compress; only into qcow2. Null: not at all.</param>
    /// <param name="progress">Told the position that is reached; by any thread, now and then out of order.</param>
    /// <param name="cancellation">Ends it.</param>
    public ImageCopier(ToolImage source, ToolImage target, Qcow2Compression? compression, Action<ulong>? progress, CancellationToken cancellation)
    {
        (_source, _target, _compression, _progress, _cancellation) = (source, target, compression, progress, cancellation);
        _granule = target.Qcow2?.ClusterSize ?? RawGranule;
    }

    private bool IsOrdered => _target.Qcow2 is not null;

    /// <summary>Copies.</summary>
    /// <exception cref="VmmException">The source cannot be read, or the target not written.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public void Run()
    {
        if (_source.Qcow2 is null && _target.Qcow2 is null && TryInsideKernel())
            return;
        // Those that have compressed wait for their turn to write: with more of them than processors none of these waits with them.
        int workers = _compression is null ? PlainWorkers : Math.Clamp(4 * Environment.ProcessorCount, 2 * PlainWorkers, MostWorkers);
        var threads = new Thread[workers];
        for (int i = 0; i < workers; i++)
        {
            threads[i] = new Thread(Work, 256 << 10) { Name = $"copy{i}", IsBackground = true };
            threads[i].Start();
        }

        foreach (var thread in threads)
            thread.Join();
        if (_failure is { } failure)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Copies a file to a file without its bytes coming here. False where these two cannot, from the position on that was reached.</summary>
    private bool TryInsideKernel()
    {
        while (_position < _source.Length)
        {
            var extent = _source.Map(_position);
            ulong end = extent.Position + extent.Length;
            while (extent.Kind == ExtentKind.Data && _position < end)
            {
                _cancellation.ThrowIfCancellationRequested();
                var (bytes, error) = _source.File.CopyTo(_target.File, _position, Math.Min(end - _position, 8 * ChunkBytes));
                if (error == HostFileError.Interrupted)
                    continue;
                if (error == HostFileError.Unsupported)
                    return false;
                if (error != HostFileError.None)
                    _target.Check(error, _position);
                if (bytes == 0)
                    return false; // it was cut short: reading it says so
                _position += (ulong)bytes;
                _progress?.Invoke(_position);
            }

            _position = end;
        }

        return true;
    }

    private void Work()
    {
        try
        {
            using var work = new Worker(this);
            while (TryTake(out var chunk))
            {
                work.Prepare(chunk);
                if (IsOrdered && !AwaitTurn(chunk.Index))
                    return;
                work.Write(chunk);
                if (IsOrdered)
                    EndTurn();
                _progress?.Invoke(chunk.Position + (ulong)chunk.Length);
            }
        }
        catch (Exception e)
        {
            lock (_gate)
            {
                _failure ??= e is Qcow2Exception image ? ToolImage.Error(_target.Name.Path, image) : e;
                Monitor.PulseAll(_gate);
            }
        }
    }

    /// <summary>Takes the next part that may hold something else than zeros, in whole granules.</summary>
    private bool TryTake(out Chunk chunk)
    {
        lock (_gate)
        {
            while (_failure is null && _position < _source.Length)
            {
                _cancellation.ThrowIfCancellationRequested();
                if (_position >= _extentEnd)
                {
                    var extent = _source.Map(_position);
                    (_extentEnd, _zeros) = (extent.Position + extent.Length, extent.Kind == ExtentKind.Zero);
                }

                ulong granule = (ulong)_granule, whole = _extentEnd == _source.Length ? _extentEnd : _extentEnd / granule * granule;
                if (_zeros && whole > _position)
                {
                    _position = whole;
                    continue;
                }

                ulong end = Math.Min(Math.Min((_extentEnd + granule - 1) / granule * granule, _position + Math.Max(ChunkBytes, granule)), _source.Length);
                chunk = new Chunk(_taken++, _position, (int)(end - _position));
                _position = end;
                return true;
            }
        }

        chunk = default;
        return false;
    }

    private bool AwaitTurn(int index)
    {
        lock (_gate)
        {
            while (_failure is null && _turn != index)
                Monitor.Wait(_gate);
            return _failure is null;
        }
    }

    private void EndTurn()
    {
        lock (_gate)
        {
            _turn++;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>A part of the disk: the number of its turn, and where it is.</summary>
    private readonly record struct Chunk(int Index, ulong Position, int Length);

    /// <summary>One thread's memory, and what it does with it.</summary>
    private sealed class Worker : IDisposable
    {
        private readonly ImageCopier _copier;
        private readonly AlignedBuffer _bytes;
        private readonly AlignedBuffer? _packed;
        private readonly IClusterCodec? _codec;
        private readonly int[] _lengths;

        public Worker(ImageCopier copier)
        {
            _copier = copier;
            int size = Math.Max(ChunkBytes, copier._granule);
            _bytes = new AlignedBuffer(size);
            _lengths = new int[size / copier._granule];
            if (copier._compression is not { } compression)
                return;
            _packed = new AlignedBuffer(size);
            _codec = ClusterCodec.Create(compression);
        }

        public void Prepare(Chunk chunk)
        {
            int granule = _copier._granule;
            // The last cluster is compressed whole: behind the disk's end are zeros.
            int whole = (chunk.Length + granule - 1) / granule * granule;
            _copier._source.Read(chunk.Position, _bytes.Buffer.Slice(0, _codec is null ? chunk.Length : whole));
            for (int i = 0; _codec is not null && i * granule < whole; i++)
            {
                var cluster = _bytes.Buffer.Slice(i * granule, granule).Span;
                _lengths[i] = cluster.ContainsAnyExcept((byte)0) ? _codec.Compress(cluster, _packed!.Buffer.Slice(i * granule, granule - 1).Span) : -1;
            }
        }

        public void Write(Chunk chunk)
        {
            int granule = _copier._granule;
            for (int at = 0; at < chunk.Length;)
            {
                int length = Math.Min(granule, chunk.Length - at);
                if (_codec is not null && _lengths[at / granule] > 0)
                {
                    var packed = _packed!.Buffer.Slice(at, _lengths[at / granule]);
                    _copier._target.Check(_copier._target.Qcow2!.WriteCompressed(chunk.Position + (ulong)at, packed), chunk.Position + (ulong)at);
                    at += length;
                    continue;
                }

                if (IsZero(at, length))
                {
                    at += length;
                    continue;
                }

                // As many as there are together: one request, and one place in the file.
                int end = at + length;
                while (_codec is null && end < chunk.Length && !IsZero(end, Math.Min(granule, chunk.Length - end)))
                    end += Math.Min(granule, chunk.Length - end);
                _copier._target.Write(chunk.Position + (ulong)at, _bytes.Buffer.Slice(at, end - at));
                at = end;
            }
        }

        public void Dispose()
        {
            _bytes.Dispose();
            _packed?.Dispose();
            _codec?.Dispose();
        }

        private bool IsZero(int at, int length) =>
            _codec is null ? !_bytes.Buffer.Slice(at, length).Span.ContainsAnyExcept((byte)0) : _lengths[at / _copier._granule] < 0;
    }
}
