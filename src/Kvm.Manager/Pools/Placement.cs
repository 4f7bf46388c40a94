namespace Kvm.Manager.Pools;

/// <summary>A folder as placement sees it. Immutable.</summary>
/// <param name="Folder">Its place in the pool.</param>
/// <param name="Free">Bytes that are free.</param>
/// <param name="Total">Bytes its file system has.</param>
/// <param name="Load">Requests that its disk has.</param>
public readonly record struct FolderSpace(int Folder, ulong Free, ulong Total, int Load);

/// <summary>A file that may be moved. Immutable.</summary>
/// <param name="Image">Its id.</param>
/// <param name="Folder">Where it is.</param>
/// <param name="Bytes">What it takes.</param>
public readonly record struct MovableFile(string Image, int Folder, ulong Bytes);

/// <summary>Where files of a pool go. Pure functions.</summary>
public static class Placement
{
    /// <summary>What is left free in each folder: a file system that is full to the last byte helps nobody.</summary>
    public const ulong Reserve = 16 << 20;

    /// <summary>Folders need not be filled more evenly than this part of one.</summary>
    private const double Even = 0.02;

    /// <summary>The folder for a new file: the one with most room for each request that its disk has under way.</summary>
    /// <param name="folders">Those that can be used.</param>
    /// <param name="bytes">What the file takes at once.</param>
    /// <returns>Null where it fits nowhere.</returns>
    public static int? Choose(IReadOnlyList<FolderSpace> folders, ulong bytes)
    {
        ArgumentNullException.ThrowIfNull(folders);
        int? best = null;
        double most = -1;
        foreach (var folder in folders)
        {
            if (folder.Free < Reserve || folder.Free - Reserve < bytes)
                continue;
            double room = (folder.Free - bytes) / (1.0 + folder.Load);
            if (room > most)
                (best, most) = (folder.Folder, room);
        }

        return best;
    }

    /// <summary>Which files to move so that folders become equally full: from the fullest to the emptiest, the largest that helps first. Folders of one file system are one.</summary>
    /// <param name="folders">The folders.</param>
    /// <param name="files">What may be moved.</param>
    /// <returns>The moves, in their order.</returns>
    public static IReadOnlyList<(string Image, int Target)> Plan(IReadOnlyList<FolderSpace> folders, IReadOnlyList<MovableFile> files)
    {
        ArgumentNullException.ThrowIfNull(folders);
        ArgumentNullException.ThrowIfNull(files);
        var free = folders.ToDictionary(folder => folder.Folder, folder => (double)folder.Free);
        var total = folders.ToDictionary(folder => folder.Folder, folder => Math.Max(1.0, folder.Total));
        var left = files.Where(file => free.ContainsKey(file.Folder) && file.Bytes > 0).OrderByDescending(file => file.Bytes).ToList();
        List<(string, int)> moves = [];
        while (free.Count > 1)
        {
            int emptiest = free.Keys.MaxBy(folder => free[folder] / total[folder]);
            var candidate = left.Where(file => file.Folder != emptiest && Helps(file, emptiest)).OrderBy(file => free[file.Folder] / total[file.Folder]).ThenByDescending(file => file.Bytes).FirstOrDefault();
            if (candidate.Image is null)
                break;
            free[candidate.Folder] += candidate.Bytes;
            free[emptiest] -= candidate.Bytes;
            left.Remove(candidate);
            moves.Add((candidate.Image, emptiest));
        }

        return moves;

        // After the move the two differ by less than before, and by more than nothing before.
        bool Helps(MovableFile file, int target)
        {
            double before = (free[target] / total[target]) - (free[file.Folder] / total[file.Folder]);
            double after = Math.Abs(((free[target] - file.Bytes) / total[target]) - ((free[file.Folder] + file.Bytes) / total[file.Folder]));
            return before > Even && after < before && free[target] - file.Bytes > Reserve;
        }
    }
}
