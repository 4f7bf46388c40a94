namespace Kvm.Tests.Support;

/// <summary>
/// Bytes allocated by code that should allocate none. A collection caused by another test's thread may charge this thread with the rest of its
/// allocation buffer, but what the code itself allocates is in every measurement: the least of three is taken.
/// </summary>
internal static class Allocation
{
    /// <summary>Bytes allocated by <paramref name="times"/> calls, after a tenth as many, at least one, to warm up.</summary>
    public static long Of(Action<int> call, int times = 10_000)
    {
        for (int i = 0; i < Math.Max(1, times / 10); i++)
            call(i);
        return Least(() =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < times; i++)
                call(i);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        });
    }

    /// <summary>The least of three of the caller's own measurements, fewer if one is zero.</summary>
    public static long Least(Func<long> measure)
    {
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 3 && least != 0; attempt++)
            least = Math.Min(least, measure());
        return least;
    }
}
