namespace Kvm.Vmm.Snapshots.Store;

public sealed partial class SnapshotStore
{
    /// <summary>The most problems that are told one by one.</summary>
    private const int MostProblems = 100;

    /// <summary>Reads and checks all that snapshots are made of, each piece once, on several threads.</summary>
    /// <param name="names">Which; none: all.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">There is no snapshot of a name.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public SnapshotVerification Verify(IReadOnlyList<string> names, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(names);
        var problems = new List<string>();
        var seen = new HashSet<ChunkId>();
        long chunks = 0;
        ulong bytes = 0;
        var asked = names.Count > 0 ? names : _folder.Names();
        foreach (string name in asked)
        {
            try
            {
                using var reader = Read(name);
                var (count, size) = Verify(reader, seen, problems, threads, progress, cancellation);
                (chunks, bytes) = (chunks + count, bytes + size);
            }
            catch (VmmException e) when (e.Error != SnapshotErrors.NotFound && e.Error != SnapshotErrors.WrongKey && e.Error != SnapshotErrors.BadName)
            {
                problems.Add(e.Message);
            }
        }

        return new SnapshotVerification(asked.Count, chunks, bytes, problems);
    }

    /// <summary>As <see cref="Verify(IReadOnlyList{string}, int, Action{ulong, ulong}?, CancellationToken)"/>, of a single file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="key">Its key, or null.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    public static SnapshotVerification VerifyFile(string path, SnapshotKey? key, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        var problems = new List<string>();
        using var reader = ReadFile(path, key);
        var (count, size) = Verify(reader, [], problems, threads, progress, cancellation);
        return new SnapshotVerification(1, count, size, problems);
    }

    private static (long Chunks, ulong Bytes) Verify(SnapshotReader reader, HashSet<ChunkId> seen, List<string> problems, int threads, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        var work = new List<(ChunkPiece Piece, PackReader Pack, PackEntry Entry)>();
        ulong all = 0, done = 0;
        foreach (var piece in reader.Pieces())
        {
            if (!seen.Add(piece.Ref.Id))
                continue;
            int length = piece.Ref.LengthOf(reader.Regions[piece.Region].ChunkLength(piece.Chunk));
            if (reader.TryFind(piece.Ref.Id, out var pack, out var entry) && entry.Length == length)
            {
                work.Add((piece, pack, entry));
                all += (ulong)length;
            }
            else
            {
                Tell(reader, ChunkStatus.Missing, piece, problems);
            }
        }

        ParallelItems.Run(work, threads, (item, codec) =>
        {
            var status = item.Pack.Read(item.Entry, codec, codec.Plain.AsSpan(0, item.Entry.Length));
            if (status != ChunkStatus.Ok)
                Tell(reader, status, item.Piece, problems);
            progress?.Invoke(Interlocked.Add(ref done, (ulong)item.Entry.Length), all);
        }, cancellation);
        return (work.Count, all);
    }

    private static void Tell(SnapshotReader reader, ChunkStatus status, in ChunkPiece piece, List<string> problems)
    {
        lock (problems)
        {
            if (problems.Count < MostProblems)
                problems.Add(reader.Explain(status, piece.Region, piece.Chunk).Message);
        }
    }
}
