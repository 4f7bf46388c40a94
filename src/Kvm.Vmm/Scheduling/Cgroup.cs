namespace Kvm.Vmm.Scheduling;

/// <summary>The cgroups a process is in, as files (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1).</summary>
internal static class Cgroup
{
    /// <summary>The folders of a controller from the process's own group up to the root: every group on the way has a say. Version 2 first; those of version 1 where the controller is there.</summary>
    /// <param name="controller"><c>memory</c>, <c>cpu</c>.</param>
    /// <param name="list">The process's list of cgroups.</param>
    /// <param name="root">Where cgroups are mounted.</param>
    public static IEnumerable<string> Folders(string controller, string list, string root)
    {
        foreach (string line in Read(list).Split('\n'))
        {
            // hierarchy:controllers:/path, of version 2 without controllers.
            if (line.Split(':', 3) is not [_, var controllers, ['/', .. var path]] || (controllers.Length > 0 && !controllers.Split(',').Contains(controller)))
                continue;
            string mount = controllers.Length == 0 ? root : Path.Combine(root, Directory.Exists(Path.Combine(root, controllers)) ? controllers : controller);
            for (path = path.Trim(); ; path = Path.GetDirectoryName(path) ?? "")
            {
                yield return Path.Combine(mount, path);
                if (path.Length == 0)
                    break;
            }
        }
    }

    /// <summary>A file's text; nothing where it cannot be read.</summary>
    public static string Read(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path) : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
