namespace Kvm.Boot.Tests;

/// <summary>The guests that scripts/guest-kernel made or fetched, under artifacts/guest/.</summary>
internal static class GuestFiles
{
    /// <summary>Path of one file; skips the calling test where it is not there.</summary>
    public static string Require(string name)
    {
        string path = Path.Combine(Root, "artifacts", "guest", name);
        Skip.IfNot(File.Exists(path), $"needs {name}: type scripts/guest-kernel");
        return path;
    }

    /// <summary>Path of a file of the repository.</summary>
    public static string RequireSource(string name) => Path.Combine(Root, name);

    /// <summary>Path of a program of the host; skips the calling test where it is not installed.</summary>
    public static string RequireProgram(string name)
    {
        string? path = Environment.GetEnvironmentVariable("PATH")?.Split(':').Select(f => Path.Combine(f, name)).FirstOrDefault(File.Exists);
        Skip.If(path is null, $"needs {name} on the host");
        return path!;
    }

    /// <summary>True when tests that take minutes were asked for (scripts/test --full).</summary>
    public static bool Full => Environment.GetEnvironmentVariable("KVMSHARP_FULL") == "1";

    private static string Root
    {
        get
        {
            var folder = new DirectoryInfo(AppContext.BaseDirectory);
            while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Kvm.sln")))
                folder = folder.Parent;
            return folder?.FullName ?? throw new InvalidOperationException("the tests do not run inside the repository");
        }
    }
}
