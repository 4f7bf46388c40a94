using System.Diagnostics;
using System.Security.Cryptography;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Fuzz;

/// <summary>
/// A snapshot in a file, chosen by bytes: any bytes at all, or a right one that is changed in places and whose checksums are made right again, so that the
/// changes are met. It is read or refused; what is read has the id that was asked for; nothing else happens, and nothing takes long.
/// </summary>
internal static class SnapshotFuzz
{
    public const string Name = "snapshot";

    private const int MostChunks = 64;

    /// <summary>No input takes longer, however slow the host: an endless loop does.</summary>
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(20);

    private static readonly SnapshotRegion s_region = new("ram", 0, 40 * SnapshotFormat.PageSize);

    private static readonly byte[] s_right = Right();

    public static (string? Wrong, int Signature) Execute(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        byte form = input.U8();
        byte[] file = form == 0 ? bytes[Math.Min(1, bytes.Length)..].ToArray() : Changed(form, ref input);
        var clock = Stopwatch.StartNew();
        try
        {
            var (wrong, signature) = Read(file);
            return (clock.Elapsed < s_mostTime ? wrong : "it takes too long", HashCode.Combine(form & 3, signature));
        }
        catch (VmmException e)
        {
            return (e.Error == SnapshotErrors.Damaged || e.Error == SnapshotErrors.LaterVersion || e.Error == SnapshotErrors.WrongKey ? null : e.Message,
                HashCode.Combine(form & 3, e.Error.Id, new string([.. e.Message.Where(c => c is > 'f' and <= 'z')])));
        }
        catch (Exception e)
        {
            return (e.ToString(), 0);
        }
    }

    private static (string? Wrong, int Signature) Read(byte[] file)
    {
        using var reader = SnapshotStore.ReadFile("/fuzz", null, new OneFile(file));
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        int ok = 0, damaged = 0, missing = 0, zero = 0;
        for (int region = 0; region < reader.Regions.Count; region++)
        {
            long count = reader.Regions[region].ChunkCount;
            for (long i = 0; i < Math.Min(count, MostChunks); i++)
            {
                // The first ones, and the last.
                long chunk = i < MostChunks / 2 ? i : count - 1 - (i - MostChunks / 2);
                if (chunk < 0)
                    continue;
                var to = content.AsSpan(0, reader.Regions[region].ChunkLength(chunk));
                var status = reader.ReadChunk(region, chunk, to);
                (ok, damaged, missing) = (ok + (status == ChunkStatus.Ok ? 1 : 0), damaged + (status == ChunkStatus.Damaged ? 1 : 0), missing + (status == ChunkStatus.Missing ? 1 : 0));
                zero += reader.IsZero(region, chunk) ? 1 : 0;
                if (status == ChunkStatus.Ok && reader.Resolve(region, chunk) is { Patches: 0, Whole: { Kind: ChunkKind.Chunk } whole } && ChunkId.Of(to, []) != whole.Id)
                    return ("a chunk is not what its id says", 0);
                if (reader.IsZero(region, chunk) && to.ContainsAnyExcept((byte)0))
                    return ("a chunk of zeros is none", 0);
            }
        }

        int pieces = reader.Pieces().Take(10_000).Count();
        return (null, HashCode.Combine(Math.Min(ok, 3), Math.Min(damaged, 3), Math.Min(missing, 3), Math.Min(zero, 3), Math.Min(pieces, 8), reader.Regions.Count, reader.Content.Records.Count, reader.Content.Disks.Count));
    }

    private static byte[] Changed(byte form, ref FuzzInput input)
    {
        byte[] file = [.. s_right];
        while (!input.IsEmpty)
        {
            int at = input.U16() % file.Length;
            byte what = input.U8();
            ulong number = input.Number();
            int width = 1 << (what & 3);
            for (int i = 0; i < width && at + i < file.Length; i++)
                file[at + i] = (what & 4) != 0 ? (byte)(file[at + i] + (byte)number) : (byte)(number >> 8 * i);
        }

        if ((form & 1) != 0)
            Seal(file);
        return (form & 2) == 0 ? file : file[..(int)(file.Length * (uint)form / 256)];
    }

    /// <summary>Makes the checksums right, of those parts that are still where they were.</summary>
    private static void Seal(byte[] file)
    {
        var head = file.AsSpan(0, SnapshotFileHead.Size);
        int packBytes = (int)BitConverter.ToInt64(s_right, 16);
        var pack = file.AsSpan(SnapshotFileHead.Size, packBytes);
        var manifest = file.AsSpan(SnapshotFileHead.Size + packBytes);
        SHA256.HashData(head[..128], head[128..]);
        int index = (int)BitConverter.ToInt64(s_right, SnapshotFileHead.Size + packBytes - 56);
        SHA256.HashData([.. pack[..PackFormat.HeaderSize], .. pack[index..^32]], pack[^32..]);
        SHA256.HashData([.. manifest[..ManifestHead.HashOffset], .. manifest[ManifestHead.Size..]], manifest.Slice(ManifestHead.HashOffset, 32));
    }

    /// <summary>A right one: a head, two small chunks that pack well, all kinds of runs, a disk, a record.</summary>
    private static byte[] Right()
    {
        var memory = new MemoryFile();
        using var codec = new ChunkCodec();
        using var pack = new PackWriter(memory, SnapshotFileHead.Size, SnapshotCompression.Lz4, null);
        var table = new RegionTable(s_region, ChunkKind.Zero);
        byte[] whole = new byte[SnapshotFormat.ChunkSize], pages = new byte[2 * SnapshotFormat.PageSize];
        Array.Fill(whole, (byte)7);
        Array.Fill(pages, (byte)9);
        pack.Add(pack.IdOf(whole), whole, codec);
        pack.Add(pack.IdOf(pages), pages, codec, SnapshotCompression.Zstd);
        table[0] = new ChunkRef(ChunkKind.Chunk, 0, pack.IdOf(whole));
        table[1] = new ChunkRef(ChunkKind.Patch, 0b101, pack.IdOf(pages));
        long packBytes = pack.Finish();
        var body = new StateWriter();
        ManifestText.Write(body, "");
        Manifest.WriteContent(body, new SnapshotContent
        {
            Machine = "{}"u8.ToArray(),
            Records = [new SnapshotRecord("r", 1, new byte[] { 1 })],
            Disks = [new SnapshotDisk("vda", "/d", "1", 512)],
        });
        Manifest.WriteRegions(body, [table, new RegionTable(new SnapshotRegion("ram", 1UL << 32, SnapshotFormat.PageSize), ChunkKind.Parent)]);
        byte[] manifest = ManifestFile.Encode(new ManifestHead { Identity = new StoreId(1, 2), Packs = [pack.Id] }, body.Written, null);
        memory.WriteAt(SnapshotFileHead.Size + packBytes, manifest);
        byte[] head = new byte[SnapshotFileHead.Size];
        new SnapshotFileHead("fuzz", packBytes, manifest.Length).Write(head);
        memory.WriteAt(0, head);
        return memory.ToArray();
    }

    private sealed class MemoryFile : IStoreFile
    {
        private byte[] _bytes = [];

        public long Length => _bytes.Length;

        public byte[] ToArray() => _bytes;

        public int ReadAt(long position, Span<byte> to)
        {
            int count = (int)Math.Clamp(_bytes.Length - position, 0, to.Length);
            _bytes.AsSpan((int)Math.Min(position, _bytes.Length), count).CopyTo(to);
            return count;
        }

        public void WriteAt(long position, ReadOnlySpan<byte> from)
        {
            if (_bytes.Length < position + from.Length)
                Array.Resize(ref _bytes, (int)position + from.Length);
            from.CopyTo(_bytes.AsSpan((int)position));
        }

        public void Flush()
        {
        }

        public void Dispose()
        {
        }

        public static MemoryFile Of(byte[] bytes) => new() { _bytes = bytes };
    }

    /// <summary>A host with one file.</summary>
    private sealed class OneFile(byte[] bytes) : IStoreFiles
    {
        public IStoreFile Open(string path) => MemoryFile.Of(bytes);

        public IStoreFile Create(string path) => throw new NotSupportedException();

        public void Rename(string from, string to, bool replace) => throw new NotSupportedException();

        public void Delete(string path) => throw new NotSupportedException();

        public void SyncFolder(string path) => throw new NotSupportedException();

        public IEnumerable<string> List(string folder) => [];
    }
}
