using System.Diagnostics;
using System.Globalization;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Vmm.Storage;

namespace Kvm.Benchmarks;

/// <summary>
/// Prints what scripts/bench disk compares: requests a second, and bytes allocated, of a raw disk and of a qcow2 disk all of whose clusters are allocated,
/// both in files in the page cache, in turns.
/// </summary>
internal static class DiskRates
{
    private const int Rounds = 9, DiskBytes = 64 << 20, PieceBytes = 1 << 20;
    private static readonly long[] s_batches = new long[1 << 16];
    private static readonly TimeSpan s_turn = TimeSpan.FromMilliseconds(120);

    /// <summary>One line a row: NAME BYTES RAW-RATE QCOW2-RATE RATIO ALLOCATED-BYTES-OF-QCOW2. Rates and ratio are medians of their own.</summary>
    public static void Print(string folder)
    {
        string raw = Path.Combine(folder, "rates.raw"), qcow2 = Path.Combine(folder, "rates.qcow2");
        using var second = Qcow2(qcow2);
        using var first = Raw(raw, DataOffset(second));
        foreach (var (name, bytes, sequential) in ((string, int, bool)[])[("random", 4096, false), ("sequential", 128 << 10, true)])
        {
            using var one = new DiskDriver(first, bytes, sequential);
            using var two = new DiskDriver(second, bytes, sequential);
            foreach (bool write in (bool[])[false, true])
                Row($"{name}-{(write ? "write" : "read")} {bytes}", one, two, write);
        }

        File.Delete(raw);
        File.Delete(qcow2);
    }

    private static void Row(string name, DiskDriver raw, DiskDriver qcow2, bool write)
    {
        List<double> raws = [], qcows = [], ratios = [];
        long allocated = long.MaxValue;
        for (int round = -1; round < Rounds; round++)
        {
            var (rawRate, _) = Measure(raw, write);
            var (rate, bytes) = Measure(qcow2, write);
            if (round < 0)
                continue; // for the compiler
            raws.Add(rawRate);
            qcows.Add(rate);
            ratios.Add(rate / rawRate);
            allocated = Math.Min(allocated, bytes);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name} {Median(raws):F0} {Median(qcows):F0} {Median(ratios):F3} {allocated}"));
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return values[values.Count / 2];
    }

    /// <summary>The rate of the median batch: whatever else the machine does interrupts few of them.</summary>
    private static (double Rate, long Allocated) Measure(DiskDriver driver, bool write)
    {
        int batches = 0;
        long allocated = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp(), before = start;
        while (batches < s_batches.Length && Stopwatch.GetElapsedTime(start) < s_turn)
        {
            driver.Run(write);
            long now = Stopwatch.GetTimestamp();
            (s_batches[batches++], before) = (now - before, now);
        }

        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        Array.Sort(s_batches, 0, batches);
        return (DiskDriver.Batch * (double)Stopwatch.Frequency / s_batches[batches / 2], allocated);
    }

    private static RawImage Raw(string path, int lead)
    {
        using (var file = File.Create(path))
            file.SetLength(DiskBytes);
        return Filled(new RawImage(HostFile.Open(new DiskConfig { Path = path })), lead);
    }

    private static Qcow2Image Qcow2(string path)
    {
        File.WriteAllBytes(path, []);
        return Filled(Qcow2Creator.Create(HostFile.OpenNew(path), new Qcow2CreateOptions { Size = DiskBytes }, new Qcow2OpenOptions()), lead: PieceBytes);
    }

    /// <summary>Where in its file an image's data begin.</summary>
    private static int DataOffset(Qcow2Image image) =>
        image.TryMap(0, DiskBytes, out var first) == DiskResult.Done && first.HostOffset is { } offset ? (int)offset : throw new InvalidOperationException("the image has no first cluster");

    /// <summary>
    /// Written whole, both by pieces that begin at the same offsets of their files, as a multiple of the piece goes: how a file was written decides how its
    /// pages lie, and that how fast they are found.
    /// </summary>
    private static T Filled<T>(T image, int lead)
        where T : IDiskImage
    {
        using var data = new AlignedBuffer(PieceBytes);
        data.Buffer.Span.Fill(1);
        for (int at = 0, length = lead; at < DiskBytes; at += length, length = Math.Min(data.Buffer.Length, DiskBytes - at))
        {
            var piece = data.Buffer.Slice(0, length);
            image.Write((ulong)at, new ReadOnlySpan<HostBuffer>(in piece));
        }

        image.Flush();
        return image;
    }
}
