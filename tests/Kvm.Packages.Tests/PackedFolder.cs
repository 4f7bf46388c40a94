namespace Kvm.Packages.Tests;

/// <summary>Every package, made once, and room for projects that take them; all gone when the tests are done.</summary>
public sealed class PackedFolder : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-packages").FullName;

    /// <summary>Makes the packages.</summary>
    public PackedFolder() => Tool.Run(_folder, GuestFiles.RequireSource("scripts/pack"), ["--output", Packages, "--version", Version]);

    /// <summary>No released version's: nothing that any cache holds.</summary>
    public static string Version => "0.0.1-test";

    /// <summary>Where the packages are.</summary>
    public string Packages => Path.Combine(_folder, "packages");

    /// <summary>Path of a package's file.</summary>
    public string PathOf(string id, string ending = "nupkg") => Path.Combine(Packages, $"{id}.{Version}.{ending}");

    /// <summary>
    /// An empty folder whose projects take packages of ours from here, and others from where this repository's build put them:
    /// nothing is fetched, and nothing of ours gets into the user's cache.
    /// </summary>
    public string NewProject(string name)
    {
        string folder = Directory.CreateDirectory(Path.Combine(_folder, name)).FullName;
        string restored = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        File.WriteAllText(Path.Combine(folder, "nuget.config"), $"""
            <configuration>
              <config><add key="globalPackagesFolder" value="{_folder}/restored" /></config>
              <packageSources><clear /><add key="local" value="{Packages}" /></packageSources>
              <fallbackPackageFolders><clear /><add key="restored" value="{restored}" /></fallbackPackageFolders>
            </configuration>
            """);
        return folder;
    }

    /// <summary>Runs <c>dotnet</c> in such a folder; it must end well.</summary>
    /// <returns>Its standard output.</returns>
    public string Dotnet(string folder, params string[] arguments) => Dotnet(folder, arguments, []);

    /// <summary>As <see cref="Dotnet(string, string[])"/>, with more in its environment.</summary>
    public string Dotnet(string folder, string[] arguments, params (string Name, string Value)[] environment) =>
        Tool.Run(folder, "dotnet", arguments, [("DOTNET_CLI_HOME", _folder), ("NUGET_PACKAGES", Path.Combine(_folder, "restored")), .. environment]);

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
