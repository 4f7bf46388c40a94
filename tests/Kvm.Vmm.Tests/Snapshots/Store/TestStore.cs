using System.Globalization;
using System.Text;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>A store in a temporary folder, and machines whose memory is made from numbers.</summary>
internal sealed class TestStore : IDisposable
{
    public static readonly SnapshotRegion Low = new("ram", 0, 6 * SnapshotFormat.ChunkSize + 3 * SnapshotFormat.PageSize);
    public static readonly SnapshotRegion High = new("ram", 1UL << 32, 2 * SnapshotFormat.ChunkSize);

    public TestStore(SnapshotKey? key = null, IStoreFiles? files = null) => Store = SnapshotStore.Open(Folder, key, files ?? HostStoreFiles.Instance);

    public string Folder { get; } = Path.Combine(Path.GetTempPath(), $"kvmsharp-store-{Environment.ProcessId}-{Guid.NewGuid():N}");

    public SnapshotStore Store { get; set; }

    public string[] PackFiles => Directory.Exists(Path.Combine(Folder, "packs")) ? [.. Directory.GetFiles(Path.Combine(Folder, "packs")).Order(StringComparer.Ordinal)] : [];

    public string PathOf(string name) => Path.Combine(Folder, name + ".snapshot");

    public static SnapshotKey KeyOf(int seed)
    {
        byte[] secret = new byte[32];
        new Random(seed).NextBytes(secret);
        return SnapshotKey.From(secret);
    }

    public static SnapshotContent Content(string note = "a note") => new()
    {
        Machine = Encoding.UTF8.GetBytes("""{"machine-config":{"vcpu_count":1}}"""),
        Engine = "soft",
        Note = note,
        Producer = "kvmsharp test",
        Records = [new SnapshotRecord("vcpu0", 3, new byte[] { 1, 2, 3 }), new SnapshotRecord("serial0", 1, ReadOnlyMemory<byte>.Empty)],
        Disks = [new SnapshotDisk("vda", "/disks/a.qcow2", "7", 1 << 30)],
    };

    /// <summary>The content of a chunk: 0 is zeros, an even number packs well, an odd one not at all.</summary>
    public static byte[] Chunk(int seed, int length = SnapshotFormat.ChunkSize)
    {
        byte[] bytes = new byte[length];
        if (seed == 0)
            return bytes;
        var random = new Random(seed);
        if (seed % 2 != 0)
        {
            random.NextBytes(bytes);
            return bytes;
        }

        for (int i = 0; i < length; i++)
            bytes[i] = (byte)(i % 61 == 0 ? random.Next(256) : i / 16);
        return bytes;
    }

    /// <summary>Saves a machine: the seed of each chunk of <see cref="Low"/>, then of <see cref="High"/>.</summary>
    public static void Save(SnapshotStore store, string name, int[] seeds, SnapshotOptions? options = null)
    {
        using var writer = store.Begin(name, [Low, High], options);
        for (int i = 0; i < seeds.Length; i++)
        {
            var (region, chunk) = PlaceOf(i);
            writer.PutChunk(region, chunk, Chunk(seeds[i], (region == 0 ? Low : High).ChunkLength(chunk)));
        }

        writer.Finish(Content(string.Create(CultureInfo.InvariantCulture, $"{name} of {seeds.Length}")));
    }

    public void Save(string name, params int[] seeds) => Save(Store, name, seeds);

    public static void ShouldHold(SnapshotStore store, string name, params int[] seeds)
    {
        using var reader = store.Read(name);
        for (int i = 0; i < seeds.Length; i++)
        {
            var (region, chunk) = PlaceOf(i);
            byte[] content = new byte[reader.Regions[region].ChunkLength(chunk)];
            Random.Shared.NextBytes(content);
            reader.ReadChunk(region, chunk, content).Should().Be(ChunkStatus.Ok);
            content.AsSpan().SequenceEqual(Chunk(seeds[i], content.Length)).Should().BeTrue($"chunk {i} of {name} is made of {seeds[i]}");
        }
    }

    public void ShouldHold(string name, params int[] seeds) => ShouldHold(Store, name, seeds);

    public void Dispose()
    {
        if (Directory.Exists(Folder))
            Directory.Delete(Folder, recursive: true);
    }

    private static (int Region, long Chunk) PlaceOf(int i) => i < Low.ChunkCount ? (0, i) : (1, i - Low.ChunkCount);
}
