using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>A machine as its folder tells: its record, or why that cannot be read.</summary>
/// <param name="Name">The machine's name.</param>
/// <param name="Record">What is known of it; null where <paramref name="Problem"/> says why not.</param>
/// <param name="Problem">Why its record cannot be read, or null.</param>
public sealed record VmEntry(string Name, VmRecord? Record, VmmException? Problem);

/// <summary>
/// Machines in a state folder: <c>vms/NAME/vcb.json</c> each, replaced whole. One that cannot be read hides no other. Thread-safe, and between
/// processes: who changes a machine holds its lock.
/// </summary>
/// <param name="stateFolder">The folder.</param>
public sealed class VmStore(string stateFolder)
{
    private const string RecordName = "vcb.json";
    private const int MostRecordBytes = 4 << 20;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>The folder that holds all of them.</summary>
    public string Folder { get; } = Path.Combine(stateFolder, "vms");

    // One file for the locks of all names, never removed: a lock on a file that goes with its machine could be held twice.
    internal string LockPath => Path.Combine(Folder, ".lock");

    /// <summary>The folder of a machine.</summary>
    /// <exception cref="VmmException">KVM0602: it cannot have that name.</exception>
    public string FolderOf(string name) => Path.Combine(Folder, VmName.Check(name));

    /// <summary>Where its console's output is kept.</summary>
    public string ConsoleLogOf(string name) => Path.Combine(FolderOf(name), "console.log");

    /// <summary>Takes a machine's lock, waiting for who has it.</summary>
    /// <exception cref="VmmException">KVM0606: another has had it for 30 seconds.</exception>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public HostLock Lock(string name, CancellationToken cancel = default) =>
        TryLock(name, s_patience, cancel) ?? throw new VmmException(ManagerErrors.Busy, $"{name} is locked by another process");

    /// <summary>As <see cref="Lock"/>, but null where another has it for as long as this.</summary>
    public HostLock? TryLock(string name, TimeSpan patience, CancellationToken cancel = default) => Keep(() =>
    {
        MakeFolder(Folder);
        return HostLock.TryAcquire(LockPath, PlaceOf(VmName.Check(name)), patience, cancel);
    });

    /// <summary>What is known of a machine.</summary>
    /// <exception cref="VmmException">KVM0600: there is none; KVM0604: its record cannot be read.</exception>
    public VmRecord Read(string name) => TryRead(VmName.Check(name)) ?? throw NoSuchVm(name);

    /// <summary>As <see cref="Read"/>, but null where there is none.</summary>
    public VmRecord? TryRead(string name)
    {
        byte[] bytes;
        string folder = FolderOf(name), path = Path.Combine(folder, RecordName);
        try
        {
            // What is kept elsewhere is not this folder's to change or remove, and opening a pipe waits.
            if (IsLink(folder))
                throw VmRecordJson.Bad(name, "is in a folder that is a link");
            if (DurableFile.IsImpostor(path))
                throw VmRecordJson.Bad(name, "is no regular file");
            // Read whole and at once: the file is replaced, never changed.
            using var file = File.OpenHandle(path);
            long length = RandomAccess.GetLength(file);
            if (length > MostRecordBytes)
                throw VmRecordJson.Bad(name, $"has {length} bytes");
            bytes = new byte[length];
            int count = RandomAccess.Read(file, bytes, 0);
            bytes = bytes[..count];
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw VmRecordJson.Bad(name, $"cannot be opened: {HostFailureText.Of(e)}", e);
        }

        return VmRecordJson.Parse(bytes, name);
    }

    /// <summary>Every machine, by name.</summary>
    /// <exception cref="VmmException">KVM0605: the folder may not be read.</exception>
    public IReadOnlyList<VmEntry> List()
    {
        List<VmEntry> entries = [];
        foreach (string name in Keep(Names))
        {
            if (Look(name) is { } entry)
                entries.Add(entry);
        }

        entries.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return entries;
    }

    /// <summary>Keeps a new machine. Under its lock.</summary>
    /// <exception cref="VmmException">KVM0603: there is one of that name; KVM0605: it cannot be kept.</exception>
    public void Add(VmRecord record)
    {
        ArgumentNullException.ThrowIfNull(record);
        string folder = FolderOf(record.Name);
        if (File.Exists(Path.Combine(folder, RecordName)))
            throw new VmmException(ManagerErrors.NameTaken, $"{record.Name} is there already");
        Keep(() =>
        {
            // A folder without a record is what somebody left who was killed while making or removing one.
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
            try
            {
                MakeFolder(folder);
                Write(record);
                DurableFile.SyncFolder(Folder);
            }
            catch
            {
                Directory.Delete(folder, recursive: true);
                throw;
            }

            return true;
        });
    }

    /// <summary>Keeps what is known of a machine from now on. Under its lock.</summary>
    /// <exception cref="VmmException">KVM0605: it cannot be kept; what was known before still is.</exception>
    public void Write(VmRecord record)
    {
        ArgumentNullException.ThrowIfNull(record);
        Keep(() =>
        {
            DurableFile.Write(Path.Combine(FolderOf(record.Name), RecordName), VmRecordJson.ToBytes(record).Span);
            return true;
        });
    }

    /// <summary>Forgets a machine and removes its folder. Under its lock.</summary>
    /// <exception cref="VmmException">KVM0605: it cannot be removed.</exception>
    public void Remove(string name) => Keep(() =>
    {
        string folder = FolderOf(name);
        if (IsLink(folder))
        {
            // Where it leads is left alone.
            File.Delete(folder);
            DurableFile.SyncFolder(Folder);
            return true;
        }

        // The record first: what is left of a removal that did not end is no machine.
        File.Delete(Path.Combine(folder, RecordName));
        DurableFile.SyncFolder(folder);
        Directory.Delete(folder, recursive: true);
        return true;
    });

    /// <summary>That there is no machine of a name, with the nearest one there is.</summary>
    internal VmmException NoSuchVm(string name)
    {
        string shown = VisibleText.Quote(name, 64);
        return new VmmException(ManagerErrors.NoSuchVm, NearestName.Find(name, Keep(Names)) is { } near ? $"{shown} is not there; did you mean {near}?" : $"{shown} is not there");
    }

    /// <summary>Folders that can be a machine's.</summary>
    private string[] Names()
    {
        try
        {
            return [.. Directory.GetDirectories(Folder).Select(folder => Path.GetFileName(folder)).Where(VmName.IsName)];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    private static bool IsLink(string path) => new DirectoryInfo(path).LinkTarget is not null;

    private VmEntry? Look(string name)
    {
        try
        {
            return TryRead(name) is { } record ? new VmEntry(name, record, null) : null;
        }
        catch (VmmException e)
        {
            return new VmEntry(name, null, e);
        }
    }

    private T Keep<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(ManagerErrors.CannotKeep, $"{VisibleText.Quote(Folder, 200)}: {HostFailureText.Of(e)}", e);
        }
    }

    private static void MakeFolder(string path) => Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    // FNV-1a. Two names at one place only wait for each other.
    internal static long PlaceOf(string name)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in name)
            hash = (hash ^ c) * 1099511628211;
        return (long)(hash >> 2);
    }
}
