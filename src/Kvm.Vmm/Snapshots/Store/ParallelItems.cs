using System.Runtime.ExceptionServices;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Something done for every item of a sequence, on several threads.</summary>
internal static class ParallelItems
{
    /// <summary>Does it, in about the order of the sequence. The first failure ends it and is thrown.</summary>
    /// <param name="items">Taken one by one, under a lock.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="work">Given an item and the thread's own codec.</param>
    /// <param name="cancellation">Ends it.</param>
    public static void Run<T>(IEnumerable<T> items, int threads, Action<T, ChunkCodec> work, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(threads);
        using var source = items.GetEnumerator();
        Exception? failure = null;
        bool TryTake(out T? item)
        {
            lock (source)
            {
                cancellation.ThrowIfCancellationRequested();
                bool more = failure is null && source.MoveNext();
                item = more ? source.Current : default;
                return more;
            }
        }

        void Work()
        {
            using var codec = new ChunkCodec();
            try
            {
                while (TryTake(out var item))
                    work(item!, codec);
            }
            catch (Exception e)
            {
                lock (source)
                    failure ??= e;
            }
        }

        var others = new Thread[threads - 1];
        for (int i = 0; i < others.Length; i++)
        {
            others[i] = new Thread(Work, 256 << 10) { Name = $"pieces{i + 1}", IsBackground = true };
            others[i].Start();
        }

        Work();
        foreach (var thread in others)
            thread.Join();
        if (failure is not null)
            ExceptionDispatchInfo.Throw(failure);
    }
}
