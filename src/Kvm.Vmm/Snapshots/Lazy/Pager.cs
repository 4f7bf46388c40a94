using System.Runtime.CompilerServices;
using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Lazy;

/// <summary>
/// Brings the pages of one machine that was restored lazily, from another process: what its guest, its devices or the kernel touch first at once, all else in the
/// background. It is a process of its own because a thread that waits for a page may be one that the runtime's memory management waits for: within
/// one process nobody could be sure to be able to help it.
/// </summary>
public sealed class Pager : IDisposable
{
    /// <summary>What a pager says last: all is there, or it cannot go on, and why.</summary>
    internal const byte Done = (byte)'d', Failed = (byte)'f';

    private const int FailurePatienceMilliseconds = 5000;

    private readonly UnixSocket _line;
    private readonly SnapshotReader _reader;
    private readonly UserFault _faults;
    private readonly PagedRegion[] _regions;
    private readonly bool[][] _there;
    private readonly byte[] _chunk = new byte[SnapshotFormat.ChunkSize];
    private readonly EventFd _prefaulted = new();
    private volatile VmmException? _failure;
    private volatile bool _ends;

    private Pager(UnixSocket line, SnapshotReader reader, UserFault faults, PageRequest request)
    {
        (_line, _reader, _faults, _regions) = (line, reader, faults, [.. request.Regions]);
        _there = [.. _regions.Select(region => new bool[reader.Regions[region.Region].ChunkCount])];
    }

    /// <summary>Serves the machine by whose process this one was started, until all of its memory is there or it has ended.</summary>
    /// <returns>The exit code.</returns>
    public static int Run()
    {
        if (!Descriptor.IsOpen(DetachedProcess.InheritedDescriptor))
            throw new VmmException(UsageErrors.Incomplete, "pager is started by restore");
        using var line = new UnixSocket(new FdHandle(DetachedProcess.InheritedDescriptor));
        return Serve(line, confine: true);
    }

    /// <summary>As <see cref="Run"/>, over a line.</summary>
    internal static int Serve(UnixSocket line, bool confine)
    {
        if (PageRequest.Receive(line) is not { } asked)
            return ExitCode.Usage;
        var (request, faults) = asked;
        using (faults)
        {
            try
            {
                using var reader = Open(request);
                using var pager = new Pager(line, reader, faults, request);
                if (confine)
                    pager.GiveUp();
                pager.Serve();
                if (pager._failure is { } failure)
                    throw failure;
            }
            catch (VmmException e)
            {
                // Whoever waits for a page waits on, until the machine's process has seen to it that nothing goes on with wrong ones.
                Say(line, [Failed, .. Encoding.UTF8.GetBytes($"{e.Error.Summary}: {e.Message}"), 0]);
                Descriptor.Poll([new PollFd { Fd = line.Handle.Fd, Events = PollFd.POLLIN }], FailurePatienceMilliseconds);
                return e.Error.ExitCode;
            }
        }

        Say(line, [Done]);
        return ExitCode.Success;
    }

    /// <inheritdoc/>
    public void Dispose() => _prefaulted.Dispose();

    private static SnapshotReader Open(PageRequest request)
    {
        var origin = request.Origin;
        var reader = origin.IsFile ? SnapshotStore.ReadFile(origin.Path, origin.Key) : SnapshotStore.Open(origin.Path, origin.Key).Read(request.Name);
        if (reader.Identity == request.Identity && request.Regions.All(region => region.Region < reader.Regions.Count))
            return reader;
        reader.Dispose();
        throw new VmmException(SnapshotErrors.NotFound, $"{request.Name} is another snapshot now");
    }

    private static void Say(UnixSocket line, ReadOnlySpan<byte> what)
    {
        while (!what.IsEmpty && line.Send(what) is > 0 and var sent)
            what = what[sent..];
    }

    /// <summary>Gives up all paths, and calls that it has no use for. Libraries are loaded by then: a chunk was read.</summary>
    private void GiveUp()
    {
        var first = _reader.Pieces().FirstOrDefault(piece => piece.IsFirst);
        if (_reader.Regions.Count > 0 && !_reader.IsZero(first.Region, first.Chunk))
            _ = _reader.ReadChunk(first.Region, first.Chunk, _chunk.AsSpan(0, _reader.Regions[first.Region].ChunkLength(first.Chunk)));
        // A program that is compiled as it runs reads more of itself later.
        if (Confinement.KnowsPaths && !RuntimeFeature.IsDynamicCodeCompiled)
        {
            using var nothing = Landlock.Begin(network: false);
            nothing.Enter();
        }

        Confinement.DropCalls();
    }

    private void Serve()
    {
        var background = new Thread(Prefault, 256 << 10) { Name = "prefault", IsBackground = true };
        background.Start();
        Span<PollFd> waited =
        [
            new PollFd { Fd = _faults.Handle.Fd, Events = PollFd.POLLIN },
            new PollFd { Fd = _line.Handle.Fd, Events = PollFd.POLLIN },
            new PollFd { Fd = _prefaulted.Handle.Fd, Events = PollFd.POLLIN },
        ];
        while (_failure is null)
        {
            _ = Descriptor.Poll(waited, -1);
            if ((waited[1].Revents | waited[2].Revents) != 0)
                break;
            while (_failure is null && _faults.TryTake(out ulong address))
                Bring(address);
        }

        _ends = true;
        background.Join();
    }

    /// <summary>Brings the chunk that an access waits for.</summary>
    private void Bring(ulong address)
    {
        for (int i = 0; i < _regions.Length; i++)
        {
            ulong offset = address - _regions[i].Address;
            if (address < _regions[i].Address || offset >= _reader.Regions[_regions[i].Region].Length)
                continue;
            long chunk = (long)(offset / SnapshotFormat.ChunkSize);
            if (Volatile.Read(ref _there[i][chunk]))
                Take(_faults.FillZeros(address & ~(ulong)(SnapshotFormat.PageSize - 1), SnapshotFormat.PageSize));
            else
                Bring(i, chunk, _chunk);
            return;
        }
    }

    private void Bring(int region, long chunk, byte[] buffer)
    {
        int number = _regions[region].Region;
        ulong to = _regions[region].Address + ((ulong)chunk * SnapshotFormat.ChunkSize);
        int length = _reader.Regions[number].ChunkLength(chunk);
        if (_reader.IsZero(number, chunk))
        {
            Take(_faults.FillZeros(to, (ulong)length));
        }
        else
        {
            var status = _reader.ReadChunk(number, chunk, buffer.AsSpan(0, length));
            if (status != ChunkStatus.Ok)
            {
                Fail(_reader.Explain(status, number, chunk));
                return;
            }

            Take(_faults.Fill(to, buffer.AsSpan(0, length)));
        }

        Volatile.Write(ref _there[region][chunk], true);
    }

    /// <summary>What a fill came to: where the machine's memory has gone there is nobody to be told.</summary>
    private void Take(int result)
    {
        if (result < 0)
            Fail(new VmmException(SnapshotErrors.ReadFailed, $"a page cannot be given to the machine: {Errno.TextOf(-result)}"));
    }

    private void Fail(VmmException failure)
    {
        Interlocked.CompareExchange(ref _failure, failure, null);
        _prefaulted.Signal();
    }

    private void Prefault()
    {
        // Whoever waits for a page goes first.
        _ = HostThread.SetNice(19);
        byte[] buffer = new byte[SnapshotFormat.ChunkSize];
        for (int i = 0; i < _regions.Length; i++)
        {
            for (long chunk = 0; chunk < _there[i].Length && _failure is null && !_ends; chunk++)
            {
                if (!Volatile.Read(ref _there[i][chunk]) && !_reader.IsZero(_regions[i].Region, chunk))
                    Bring(i, chunk, buffer);
            }
        }

        _prefaulted.Signal();
    }
}
