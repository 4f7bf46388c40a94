using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Benchmarks;

/// <summary>
/// Stored snapshots: MiB for each second of processor time, one thread, of memory full of programs and their data (the class library's files, one after
/// another): nothing of it is zeros or twice there. Lines for <c>scripts/bench snapshot-store</c>.
/// </summary>
internal static class SnapshotRates
{
    private const int Chunks = 1024, DirtyPages = 10_000;

    private static readonly SnapshotRegion s_region = new("ram", 0, (ulong)Chunks * SnapshotFormat.ChunkSize);

    public static void Print(string folder)
    {
        folder = Path.Combine(folder, "snapshot-store");
        byte[] memory = Memory();
        SnapshotKey key = SnapshotKey.From(RandomNumberGenerator.GetBytes(32));
        foreach (var (row, compression, secret) in ((string, SnapshotCompression, SnapshotKey?)[])
            [("none", SnapshotCompression.None, null), ("lz4", SnapshotCompression.Lz4, null), ("zstd", SnapshotCompression.Zstd, null), ("lz4-encrypted", SnapshotCompression.Lz4, key)])
        {
            var rates = new List<double>();
            double ratio = 0;
            for (int run = 0; run < 5; run++)
            {
                Clear(folder);
                var store = SnapshotStore.Open(folder, secret);
                rates.Add(Save(store, "a", memory, new SnapshotOptions { Compression = compression }, out long stored));
                ratio = (double)memory.Length / stored;
            }

            Say("save", row, Median(rates), ratio);
            var open = SnapshotStore.Open(folder, secret);
            if (row == "lz4")
                Say("save", "known-chunks", Save(open, "b", memory, new SnapshotOptions(), out _), 0);
            Read(open, row, memory);
            if (row is "lz4" or "zstd")
                Touch(open, row);
            if (row == "lz4")
                Increment(open, memory);
        }

        Clear(folder);
    }

    private static byte[] Memory()
    {
        byte[] memory = new byte[s_region.Length];
        int at = 0;
        foreach (string file in Directory.GetFiles(Path.GetDirectoryName(typeof(object).Assembly.Location)!).Order(StringComparer.Ordinal))
        {
            byte[] bytes = File.ReadAllBytes(file);
            int count = Math.Min(bytes.Length, memory.Length - at);
            bytes.AsSpan(0, count).CopyTo(memory.AsSpan(at));
            at += count;
        }

        // What is left, and what the files have of zeros, is not counted as saved: every chunk is marked as its own.
        for (int i = 0, from = 0; at < memory.Length; i++, at++)
            memory[at] = (byte)(memory[from++] + i / (1 << 20));
        for (int i = 0; i < Chunks; i++)
            BitConverter.TryWriteBytes(memory.AsSpan(i * SnapshotFormat.ChunkSize), i + 1);
        return memory;
    }

    private static double Save(SnapshotStore store, string name, byte[] memory, SnapshotOptions options, out long stored)
    {
        using var writer = store.Begin(name, [s_region], options);
        var before = Environment.CpuUsage.TotalTime;
        for (int i = 0; i < Chunks; i++)
            writer.PutChunk(0, i, memory.AsSpan(i * SnapshotFormat.ChunkSize, SnapshotFormat.ChunkSize));
        double rate = (memory.Length >> 20) / (Environment.CpuUsage.TotalTime - before).TotalSeconds;
        stored = writer.StoredBytes;
        writer.Finish(new SnapshotContent());
        return rate;
    }

    private static void Read(SnapshotStore store, string row, byte[] memory)
    {
        var rates = new List<double>();
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        for (int run = 0; run < 5; run++)
        {
            using var reader = store.Read("a");
            var before = Environment.CpuUsage.TotalTime;
            for (int i = 0; i < Chunks; i++)
            {
                if (reader.ReadChunk(0, i, content) != ChunkStatus.Ok)
                    throw new InvalidOperationException("the store does not hold what was saved");
            }

            rates.Add((memory.Length >> 20) / (Environment.CpuUsage.TotalTime - before).TotalSeconds);
        }

        Say("verify", row, Median(rates), 0);
    }

    private static void Touch(SnapshotStore store, string row)
    {
        using var reader = store.Read("a");
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        var times = new double[20_000];
        var random = new Random(1);
        for (int i = -1000; i < times.Length; i++)
        {
            long chunk = random.Next(Chunks), start = Stopwatch.GetTimestamp();
            reader.ReadChunk(0, chunk, content);
            if (i >= 0)
                times[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
        }

        Array.Sort(times);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"touch {row} {times[times.Length / 2]:0.0} {times[times.Length * 99 / 100]:0.0}"));
    }

    /// <summary>Pages changed here and there, as a dirty log tells them.</summary>
    private static void Increment(SnapshotStore store, byte[] memory)
    {
        var random = new Random(1);
        var dirty = new ushort[Chunks];
        for (int pages = 0; pages < DirtyPages;)
        {
            int page = random.Next(Chunks * SnapshotFormat.ChunkPages);
            if ((dirty[page / SnapshotFormat.ChunkPages] & 1 << page % SnapshotFormat.ChunkPages) != 0)
                continue;
            dirty[page / SnapshotFormat.ChunkPages] |= (ushort)(1 << page % SnapshotFormat.ChunkPages);
            pages++;
        }

        using var writer = store.Begin("c", [s_region], new SnapshotOptions { Parent = "a" });
        byte[] changed = new byte[SnapshotFormat.ChunkSize];
        var before = Environment.CpuUsage.TotalTime;
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            int length = 0;
            for (int page = 0; page < SnapshotFormat.ChunkPages; page++)
            {
                if ((dirty[chunk] & 1 << page) == 0)
                    continue;
                memory.AsSpan(chunk * SnapshotFormat.ChunkSize + page * SnapshotFormat.PageSize, SnapshotFormat.PageSize).CopyTo(changed.AsSpan(length));
                changed[length] ^= 0x55;
                length += SnapshotFormat.PageSize;
            }

            if (length > 0)
                writer.PutPages(0, chunk, dirty[chunk], changed.AsSpan(0, length));
        }

        double time = (Environment.CpuUsage.TotalTime - before).TotalMilliseconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"increment {DirtyPages} {time:0} {writer.StoredBytes >> 10}"));
    }

    private static void Say(string what, string row, double rate, double ratio) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what} {row} {rate:0} {ratio:0.00}"));

    private static double Median(List<double> values)
    {
        values.Sort();
        return values[values.Count / 2];
    }

    private static void Clear(string folder)
    {
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
    }
}
