using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Api.Firecracker;

/// <summary>
/// Firecracker's two files of a snapshot as this program has them: <c>mem_file_path</c> is a folder, the store with all of the snapshot, and <c>snapshot_path</c> a small file
/// of JSON that says which one of the store's it is. Increments are snapshots of the same store.
/// </summary>
internal static class SnapshotFiles
{
    private const string Format = "kvmsharp-firecracker-snapshot";
    private const int FormatVersion = 1;
    private const int MostBytes = 64 << 10;

    /// <summary>The version of the format, as <c>--snapshot-version</c> says it.</summary>
    public static string Version => string.Create(CultureInfo.InvariantCulture, $"{FormatVersion}.0.0");

    /// <summary>Takes one of a paused machine.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="wanted">Where it goes, and of which type it is.</param>
    /// <param name="goesOn">Written pages are noted from now on, so that the next one may be an increment to this one.</param>
    /// <exception cref="VmmException">It cannot be taken or written; the machine stays paused.</exception>
    public static void Create(VirtualMachine machine, SnapshotCreateBody wanted, bool goesOn)
    {
        bool isDiff = wanted.SnapshotType == "Diff";
        if (File.Exists(wanted.MemFilePath))
            throw Body.Wrong($"mem_file_path {VisibleText.Quote(wanted.MemFilePath)} is a file; a snapshot's memory is a folder here, which is made where there is none");
        string? former = File.Exists(wanted.SnapshotPath) ? NameIn(wanted.SnapshotPath) : null;
        var store = SnapshotStore.Open(Path.GetFullPath(wanted.MemFilePath));
        string name = string.Create(CultureInfo.InvariantCulture, $"microvm-{DateTime.UtcNow:yyyyMMdd'T'HHmmss'.'fffffff}");
        var taken = machine.TakeSnapshot(store, name, new SnapshotTakeOptions { Incremental = isDiff || goesOn });
        try
        {
            if (!isDiff && taken.Parent is not null)
                store.Merge(name);
            DurableFile.Write(Path.GetFullPath(wanted.SnapshotPath), Describe(taken));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            store.Remove([name]);
            throw new VmmException(UsageErrors.CannotWrite, $"snapshot_path {VisibleText.Quote(wanted.SnapshotPath)}: {HostFailureText.Of(e)}", e);
        }

        if (former is not null)
            TryRemove(store, former);
    }

    /// <summary>Opens one.</summary>
    /// <exception cref="VmmException">The files are none of this program's, or not those that belong together.</exception>
    public static SnapshotReader Open(SnapshotLoadBody wanted)
    {
        string memory = (wanted.MemFilePath, wanted.MemBackend) switch
        {
            ({ } path, null) => path,
            (null, { BackendType: "File" } backend) => backend.BackendPath,
            (null, { BackendType: "Uffd" }) => throw Body.Lacks("mem_backend.backend_type Uffd: memory that another process gives page by page"),
            (null, { } backend) => throw Body.Wrong($"backend_type is {VisibleText.Quote(backend.BackendType, 40)}, neither File nor Uffd"),
            _ => throw Body.Wrong("either mem_backend or mem_file_path is needed, and not both"),
        };
        var described = Read(wanted.SnapshotPath);
        var reader = SnapshotStore.Open(Path.GetFullPath(memory)).Read(described.Snapshot);
        if (reader.Identity == described.Identity)
            return reader;
        reader.Dispose();
        throw Bad($"{VisibleText.Quote(memory)} has another snapshot of the name {described.Snapshot}");
    }

    /// <summary>The machine that goes on, with what a client wants to be different.</summary>
    /// <exception cref="VmmException">What is to be different is not there, or cannot be.</exception>
    public static RunSettings ConfigOf(SnapshotReader snapshot, SnapshotLoadBody wanted, MicroVmSettings vm)
    {
        if (wanted.ClockRealtime)
            throw Body.Lacks("clock_realtime: a guest's monotonic time goes on from where it was");
        bool hugePages = wanted.HugePages switch
        {
            "Snapshot" or "None" or "Transparent" => wanted.HugePages == "Transparent",
            "2M" => throw Body.Lacks("huge_pages 2M: memory of hugetlbfs"),
            _ => throw Body.Wrong($"huge_pages is {VisibleText.Quote(wanted.HugePages, 40)}, not one of Snapshot, None, Transparent, 2M"),
        };
        var machine = VirtualMachine.ConfigOf(snapshot).Machine;
        List<NetConfig> cards = [.. machine.Networks];
        foreach (var change in wanted.NetworkOverrides ?? [])
        {
            int place = cards.FindIndex(card => card.Id == change.IfaceId);
            if (place < 0)
                throw Body.Wrong($"network_overrides names {VisibleText.Quote(change.IfaceId, 40)}, which the snapshot does not have");
            if (NetConfig.Parse($"tap={change.HostDevName}", out var end) is { } problem)
                throw Body.Wrong($"host_dev_name {problem}");
            cards[place] = cards[place] with { Kind = end.Kind, Name = end.Name, Model = null };
        }

        if (wanted.VsockOverride is not null && machine.Vsock is null)
            throw Body.Wrong("vsock_override: the snapshot has no vsock");
        return vm.Run with
        {
            Machine = machine with
            {
                Name = vm.Machine.Name,
                Engine = vm.Machine.Engine,
                Networks = cards,
                HugePages = machine.HugePages || hugePages,
                LimitsMayChange = true,
                Keyboard = true,
                Vsock = wanted.VsockOverride is { } other ? machine.Vsock! with { SocketPath = other.UdsPath } : machine.Vsock,
            },
        };
    }

    private static ReadOnlySpan<byte> Describe(SnapshotTaken taken)
    {
        var buffer = new ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
            JsonSerializer.Serialize(json, new SnapshotFile(Format, FormatVersion, taken.Name, taken.Identity), FirecrackerJson.Default.SnapshotFile);
        return buffer.WrittenSpan;
    }

    /// <summary>What a snapshot's file says.</summary>
    /// <exception cref="VmmException">KVM0723: it says nothing, or cannot be read.</exception>
    public static SnapshotFile Read(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            byte[] text = new byte[MostBytes + 1];
            int length = file.ReadAtLeast(text, text.Length, throwOnEndOfStream: false);
            if (length <= MostBytes && JsonSerializer.Deserialize(text.AsSpan(0, length), FirecrackerJson.Default.SnapshotFile) is { Format: Format } described)
                return described.Version == FormatVersion ? described : throw Bad($"{VisibleText.Quote(path)} is of version {described.Version}; this program reads {FormatVersion}");
            throw Bad(VisibleText.Quote(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or ArgumentException or NotSupportedException)
        {
            throw new ApiRefusal(400, FirecrackerErrors.BadSnapshot, $"{VisibleText.Quote(path)}: {(e is JsonException ? "it is another file" : HostFailureText.Of(e))}", e);
        }
    }

    private static string? NameIn(string path)
    {
        try
        {
            return Read(path).Snapshot;
        }
        catch (VmmException)
        {
            // Whatever it was, it is replaced.
            return null;
        }
    }

    private static void TryRemove(SnapshotStore store, string name)
    {
        try
        {
            store.Remove([name]);
        }
        catch (VmmException)
        {
            // It is in another folder, others are based on it, or somebody reads it: it stays.
        }
    }

    private static ApiRefusal Bad(string detail) => new(400, FirecrackerErrors.BadSnapshot, detail);
}

/// <summary>The small file of a snapshot.</summary>
/// <param name="Format">That it is one.</param>
/// <param name="Version">Of which version.</param>
/// <param name="Snapshot">Its name in the store.</param>
/// <param name="Identity">What it is called for ever.</param>
internal sealed record SnapshotFile(string Format, int Version, string Snapshot, string Identity);
