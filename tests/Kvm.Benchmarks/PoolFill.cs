using System.Globalization;
using Kvm.Manager;
using Kvm.Manager.Pools;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Benchmarks;

/// <summary>Makes many empty volumes in a new pool of this user's: as <c>volume create</c> does, but that not each is flushed, and the journal not read anew for each.</summary>
internal static class PoolFill
{
    private const ulong Size = 1 << 30;

    /// <summary>Makes them.</summary>
    /// <param name="pool">The pool's name.</param>
    /// <param name="folder">Its folder.</param>
    /// <param name="count">How many.</param>
    public static void Make(string pool, string folder, int count)
    {
        var store = new PoolStore(ManagerOptions.OfThisUser());
        store.Define(pool, [folder], null);
        var journal = new PoolJournal(store.JournalOf(pool));
        var catalog = journal.Read();
        for (int i = 0; i < count; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"many{i}");
            var image = PoolSession.NewImage(0, name, DiskFormat.Raw, Size, null);
            string path = Path.Combine(folder, image.File);
            using (var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
                RandomAccess.SetLength(file, (long)Size);
            journal.Add(catalog, lasts: false, PoolEntry.Of(image with { Facts = ImageFile.Look(path)!.Value }), PoolEntry.Of(new PoolName(name, image.Id, DateTimeOffset.UtcNow)));
        }
    }
}
