using System.IO.Compression;

namespace Kvm.Packages.Tests;

/// <summary>A library packed from a checkout whose remote is on GitHub.</summary>
public sealed class SourceLinkTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-sourcelink").FullName;

    [SkippableFact]
    public void The_symbols_of_a_package_name_each_source_by_its_address_and_commit()
    {
        GuestFiles.RequireProgram("git");
        foreach (string file in (string[])["Directory.Build.props", "Directory.Packages.props", "src/Directory.Build.props", "src/Directory.Build.targets",
            "src/Sequences.cs", "assets/icon.png", "assets/package.md", .. Sources("src/Kvm.Sched")])
        {
            string copy = Path.Combine(_folder, file);
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(GuestFiles.RequireSource(file), copy);
        }

        Git("init", "-q");
        Git("remote", "add", "origin", "https://github.com/example/kvmsharp.git");
        Git("add", ".");
        Git("-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-q", "-m", "Everything");
        string commit = Git("rev-parse", "HEAD").Trim();

        Tool.Run(_folder, "dotnet", ["pack", "src/Kvm.Sched/Kvm.Sched.csproj", "-c", "Release", "-v", "q", "-o", "packages", "-p:ContinuousIntegrationBuild=true", "-p:RunAnalyzers=false"]);

        using var package = ZipFile.OpenRead(Directory.GetFiles(Path.Combine(_folder, "packages"), "*.snupkg").Should().ContainSingle().Subject);
        SymbolFile.SourceLink(package.GetEntry("lib/net10.0/Kvm.Sched.pdb")!).Should()
            .Be($$$"""{"documents":{"/_/*":"https://raw.githubusercontent.com/example/kvmsharp/{{{commit}}}/*"}}""");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static IEnumerable<string> Sources(string folder) =>
        Directory.EnumerateFiles(GuestFiles.RequireSource(folder), "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(GuestFiles.RequireSource("."), file));

    private string Git(params string[] arguments) => Tool.Run(_folder, "git", arguments);
}
