using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;

namespace Kvm.Manager.Pools;

/// <summary>Volumes as disks of machines: a machine names the volume, and what file that is is found out when it starts. Thread-safe, and between processes.</summary>
public static class VolumeDisks
{
    /// <summary>Whether a machine may have a volume among its disks.</summary>
    public static bool AreIn(RunSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return settings.Machine.Disks.Any(disk => disk.Volume is not null || MayBe(disk));
    }

    /// <summary>Makes the volumes that disks ask for with a size and that are not there, and names those by their pools that may be files or volumes.</summary>
    /// <param name="settings">The machine.</param>
    /// <param name="options">Where pools are.</param>
    /// <returns>The machine, in which every volume is one by its whole name.</returns>
    /// <exception cref="VmmException">A volume cannot be made.</exception>
    public static RunSettings Name(RunSettings settings, ManagerOptions options)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(options);
        if (!settings.Machine.Disks.Any(MayBe))
            return settings;
        var store = new PoolStore(options);
        return settings with { Machine = settings.Machine with { Disks = [.. settings.Machine.Disks.Select(disk => MayBe(disk) ? Name(disk, store) : disk)] } };
    }

    /// <summary>Finds the files of volumes.</summary>
    /// <param name="settings">The machine, as <see cref="Name(RunSettings, ManagerOptions)"/> left it.</param>
    /// <param name="options">Where pools are.</param>
    /// <exception cref="VmmException">A volume is not there, or its file is not what it was.</exception>
    public static RunSettings Locate(RunSettings settings, ManagerOptions options)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(options);
        if (!settings.Machine.Disks.Any(disk => disk.Volume is not null))
            return settings;
        var store = new PoolStore(options);
        return settings with { Machine = settings.Machine with { Disks = [.. settings.Machine.Disks.Select(disk => disk.Volume is null ? disk : Locate(disk, store))] } };
    }

    /// <summary>
    /// After a machine was built, and before its guest runs: that its volumes are still the files that it has open. From then on their locks keep them.
    /// </summary>
    /// <exception cref="VmmException">KVM0648: one of them became another file in between.</exception>
    public static void Check(RunSettings settings, ManagerOptions options)
    {
        ArgumentNullException.ThrowIfNull(settings);
        var now = Locate(settings, options);
        for (int i = 0; i < now.Machine.Disks.Count; i++)
        {
            if (now.Machine.Disks[i].Path != settings.Machine.Disks[i].Path)
                throw new VmmException(PoolErrors.VolumeInUse, $"{now.Machine.Disks[i].Volume} was cloned or set back while the machine was being built; start it again");
        }
    }

    /// <summary>A machine that has a volume among its disks, or null.</summary>
    public static string? MachineOf(VmManager manager, VolumeName name)
    {
        ArgumentNullException.ThrowIfNull(manager);
        ArgumentNullException.ThrowIfNull(name);
        return manager.Store.List().FirstOrDefault(entry => entry.Record is { } record && record.Config.Contains($"\"{name}\"", StringComparison.Ordinal) && record.Settings().Machine.Disks.Any(disk => disk.Volume == $"{name}"))?.Name;
    }

    /// <summary>The files that a process has to read to find a machine's volumes.</summary>
    internal static IEnumerable<string> Needs(RunSettings settings, ManagerOptions options)
    {
        var store = new PoolStore(options);
        foreach (string pool in settings.Machine.Disks.Where(disk => disk.Volume is not null).Select(disk => VolumeName.Parse(disk.Volume!).Pool).Distinct())
        {
            yield return store.Folder;
            foreach (string folder in store.Get(pool).Record.Folders)
                yield return Path.Combine(folder, PoolFolder.Marker);
        }
    }

    /// <summary>Whether what a disk names may be a volume: with a size, or as POOL/VOLUME. A path from the root on, or from here on by ./, is never one.</summary>
    public static bool MayBe(DiskConfig disk) => disk is not null && disk.Volume is null && (disk.VolumeBytes is not null || (disk.Path.Length > 0 && disk.Path[0] is not ('/' or '.') && disk.Path.Count(c => c == '/') == 1));

    private static DiskConfig Name(DiskConfig disk, PoolStore store)
    {
        if (disk.VolumeBytes is not { } bytes)
            return VolumeName.TryParse(disk.Path) is { } found && store.Exists(found.Pool) && store.Get(found.Pool).TryFind(found) is not null ? Of(disk, found) : disk with { Path = Path.GetFullPath(disk.Path) };
        var name = VolumeName.ParseVolume(disk.Path);
        var pool = store.GetOrDefault(name.Pool);
        if (pool.TryFind(name) is { } there)
        {
            return bytes <= there.Size ? Of(disk, name)
                : throw new VmmException(PoolErrors.CannotBe, $"{name} has {there.Size} bytes, and not {bytes}: kvmsharp volume resize {name} {bytes}");
        }

        try
        {
            pool.Create(name, bytes);
        }
        catch (VmmException e) when (e.Error == PoolErrors.Taken)
        {
            // Another was quicker.
        }

        return Of(disk, name);
    }

    private static DiskConfig Of(DiskConfig disk, VolumeName name) => disk with { Volume = $"{name}", VolumeBytes = null };

    private static DiskConfig Locate(DiskConfig disk, PoolStore store)
    {
        var name = VolumeName.Parse(disk.Volume!);
        var (path, format) = store.Get(name.Pool).Locate(name) ?? throw new VmmException(PoolErrors.NoSuchVolume, $"{name} is not there");
        if (name.Snapshot is not null && !disk.ReadOnly)
            throw new VmmException(PoolErrors.CannotBe, $"{name} is a snapshot, which is only read: add ,readonly");
        return disk with { Path = path, Format = format, AllowBacking = true };
    }
}
