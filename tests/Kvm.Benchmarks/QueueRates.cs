using System.Diagnostics;
using System.Globalization;
using Kvm.Devices.Block;
using Kvm.Vmm.Storage;

namespace Kvm.Benchmarks;

/// <summary>Prints what scripts/bench queue compares with a loop in C: requests a second, and bytes allocated, for a file and for a disk that does nothing.</summary>
internal static class QueueRates
{
    private static readonly TimeSpan s_row = TimeSpan.FromMilliseconds(500);

    /// <summary>One line a row: NAME BYTES REQUESTS-A-SECOND ALLOCATED-BYTES.</summary>
    public static void Print(string path)
    {
        using (var nothing = new NullDisk())
            Rows("null", nothing, 4096);
        foreach (int bytes in (int[])[4096, 128 << 10])
        {
            using var image = new RawImage(HostFile.Open(new DiskConfig { Path = path }));
            Rows("file", image, bytes);
        }
    }

    private static void Rows(string name, IDiskImage image, int bytes)
    {
        using var driver = new DiskDriver(image, bytes);
        foreach (bool write in (bool[])[false, true])
        {
            Measure(driver, write); // and once for the compiler
            var (rate, allocated) = Measure(driver, write);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}-{(write ? "write" : "read")} {bytes} {rate:F0} {allocated}"));
        }
    }

    private static (double Rate, long Allocated) Measure(DiskDriver driver, bool write)
    {
        long requests = 0, allocated = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < s_row)
        {
            driver.Run(write);
            requests += DiskDriver.Batch;
        }

        return (requests / Stopwatch.GetElapsedTime(start).TotalSeconds, GC.GetAllocatedBytesForCurrentThread() - allocated);
    }
}
