namespace Kvm.Devices.Tests.Support;

/// <summary>Bytes allocated by code that should allocate none.</summary>
internal static class Allocation
{
    /// <summary>
    /// The least of three measurements of <paramref name="times"/> calls, after a tenth as many to warm up: a collection caused by another
    /// test's thread may charge this thread with the rest of its allocation buffer, but what the code itself allocates is in all three.
    /// </summary>
    public static long Of(Action<int> call, int times = 10_000)
    {
        for (int i = 0; i < times / 10; i++)
            call(i);
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 3 && least != 0; attempt++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < times; i++)
                call(i);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
