using System.Runtime.CompilerServices;

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

namespace Kvm.Architecture.Tests;

/// <summary>The checkout these tests were built from, and its files.</summary>
internal static class Repository
{
    /// <summary>Where the rule about a table or a dispatch switch is loosened, the file is named in the test that does so.</summary>
    public static string Root { get; } = FindRoot();

    public static string PathOf(string relative) => Path.Combine(Root, relative);

    public static string Read(string relative) => File.ReadAllText(PathOf(relative));

    /// <summary>The C# files under a folder of the checkout, by their path from its root.</summary>
    public static IEnumerable<string> SourceFiles(params string[] folders) => Files("*.cs", folders);

    public static IEnumerable<string> Files(string pattern, params string[] folders) => folders
        .Where(folder => Directory.Exists(PathOf(folder)))
        .SelectMany(folder => Directory.EnumerateFiles(PathOf(folder), pattern, SearchOption.AllDirectories))
        .Select(file => Path.GetRelativePath(Root, file).Replace('\\', '/'))
        .Where(file => !file.Split('/').Any(part => part is "bin" or "obj" or "artifacts"))
        .Order(StringComparer.Ordinal);

    private static string FindRoot([CallerFilePath] string thisFile = "")
    {
        // The build output lies inside the checkout; the source path is the fallback where it was moved out.
        foreach (var start in new[] { AppContext.BaseDirectory, Path.GetDirectoryName(thisFile)! })
            for (var folder = new DirectoryInfo(start); folder is not null; folder = folder.Parent)
                if (File.Exists(Path.Combine(folder.FullName, "Kvm.sln")))
                    return folder.FullName;
        throw new InvalidOperationException("Kvm.sln is in no folder above the tests.");
    }
}
