using Kvm.Vmm;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Manager.Faults;

/// <summary>The snapshot that a machine goes on from after a fault.</summary>
internal static class LastSnapshot
{
    /// <summary>Opens a machine's newest snapshot in a store; null where there is none that can be read without a key.</summary>
    /// <param name="store">The store.</param>
    /// <param name="name">The machine's name.</param>
    public static SnapshotReader? Find(SnapshotStore store, string name)
    {
        foreach (var info in store.List().Where(info => info is { Problem: null, IsEncrypted: false }).OrderByDescending(info => info.Created))
        {
            if (Open(store, info.Name) is not { } reader)
                continue;
            if (IsOf(reader, name))
                return reader;
            reader.Dispose();
        }

        return null;
    }

    private static SnapshotReader? Open(SnapshotStore store, string snapshot)
    {
        try
        {
            return store.Read(snapshot);
        }
        catch (VmmException)
        {
            // Removed or spoiled meanwhile: an older one is better than none.
            return null;
        }
    }

    private static bool IsOf(SnapshotReader reader, string name)
    {
        try
        {
            return VirtualMachine.ConfigOf(reader).Machine.Name == name;
        }
        catch (VmmException)
        {
            // A backup of disks, or a later program's.
            return false;
        }
    }
}
