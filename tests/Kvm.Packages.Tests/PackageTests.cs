using System.IO.Compression;
using System.Xml.Linq;

namespace Kvm.Packages.Tests;

/// <summary>What scripts/pack makes, and that a project somewhere else can use it.</summary>
public sealed class PackageTests(PackedFolder packed) : IClassFixture<PackedFolder>
{
    public static TheoryData<string> Libraries => ["Kvm", "Kvm.Devices", "Kvm.Interop", "Kvm.Sched", "Kvm.Testing", "Kvm.Testing.Xunit", "Kvm.Testing.Xunit3", "Kvm.Vmm", "Kvm.X86"];

    [Theory]
    [MemberData(nameof(Libraries))]
    public void A_library_comes_with_documentation_readme_icon_and_symbols(string id)
    {
        using var package = ZipFile.OpenRead(packed.PathOf(id));
        Names(package).Should().Contain([$"lib/net10.0/{id}.dll", $"lib/net10.0/{id}.xml", "README.md", "icon.png"]);
        Names(package).Should().NotContain(name => name.EndsWith(".pdb", StringComparison.Ordinal));
        using var symbols = ZipFile.OpenRead(packed.PathOf(id, "snupkg"));
        Names(symbols).Should().Contain($"lib/net10.0/{id}.pdb");
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void A_library_says_its_licence_and_needs_no_package_of_ours_that_is_not_made(string id)
    {
        using var package = ZipFile.OpenRead(packed.PathOf(id));
        var description = XDocument.Load(package.GetEntry($"{id}.nuspec")!.Open()).Root!.Elements().Single();
        description.Elements().Should().Contain(e => e.Name.LocalName == "license" && e.Value == "MIT");
        description.Elements().Single(e => e.Name.LocalName == "description").Value.Length.Should().BeGreaterThan(20);
        var needed = description.Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => (string)e.Attribute("id")!)
            .Where(name => name.StartsWith("Kvm", StringComparison.Ordinal));
        needed.Where(name => !File.Exists(packed.PathOf(name))).Should().BeEmpty();
    }

    [Fact]
    public void The_symbols_name_no_folder_of_the_machine_they_were_made_on()
    {
        using var symbols = ZipFile.OpenRead(packed.PathOf("Kvm.Vmm", "snupkg"));
        var documents = SymbolFile.Documents(symbols.GetEntry("lib/net10.0/Kvm.Vmm.pdb")!);
        documents.Should().Contain(document => document.EndsWith("src/Kvm.Vmm/VmBuilder.cs", StringComparison.Ordinal));
        documents.Should().OnlyContain(document => document.StartsWith("/_", StringComparison.Ordinal));
    }

    [SkippableFact]
    public void A_fresh_project_runs_a_guest_in_one_call()
    {
        string guest = GuestFiles.Require("bare/six.elf");
        string folder = packed.NewProject("one-call");
        File.WriteAllText(Path.Combine(folder, "one-call.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <UseAppHost>false</UseAppHost>
                <NuGetAudit>false</NuGetAudit>
              </PropertyGroup>
              <ItemGroup><PackageReference Include="Kvm" Version="{PackedFolder.Version}" /></ItemGroup>
            </Project>
            """);
        File.WriteAllText(Path.Combine(folder, "Program.cs"), """
            using var console = new MemoryStream();
            var result = await Kvm.Vm.RunAsync(args[0], console: console);
            Console.WriteLine($"{result.Outcome} {result.ExitCode} {(char)console.ToArray()[0]}");
            """);
        packed.Dotnet(folder, "build", "-c", "Release", "-v", "q");
        packed.Dotnet(folder, "bin/Release/net10.0/one-call.dll", guest).Trim().Should().Be("DebugExit 0 K");
    }

    [SkippableFact]
    public void A_fresh_project_tests_in_a_guest()
    {
        string guests = Path.GetDirectoryName(Path.GetDirectoryName(GuestFiles.Require("small/vmlinux")))!;
        GuestFiles.Require("initramfs/initramfs.cpio");
        string folder = packed.NewProject("tests");
        File.WriteAllText(Path.Combine(folder, "tests.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <NuGetAudit>false</NuGetAudit>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Kvm.Testing.Xunit" Version="{PackedFolder.Version}" />
                <PackageReference Include="Microsoft.NET.Test.Sdk" Version="{VersionOf("Microsoft.NET.Test.Sdk")}" />
                <PackageReference Include="xunit" Version="{VersionOf("xunit")}" />
                <PackageReference Include="xunit.runner.visualstudio" Version="{VersionOf("xunit.runner.visualstudio")}" />
              </ItemGroup>
            </Project>
            """);
        File.WriteAllText(Path.Combine(folder, "Tests.cs"), """
            using Kvm.Testing;
            using Kvm.Testing.Xunit;
            using Xunit;

            public sealed class Tests(VmFixture fixture) : IClassFixture<VmFixture>
            {
                [VmFact]
                public async Task Its_kernel_is_Linux() => Assert.Equal("Linux", await fixture.Guest.CheckAsync("uname", "-s"));
            }
            """);
        packed.Dotnet(folder, ["test", "-c", "Release"], ("KVMSHARP_GUEST", guests), ("DOTNET_CLI_UI_LANGUAGE", "en")).Should().Contain("Passed!");
    }

    [SkippableFact]
    public void The_tool_can_be_installed_and_runs_a_guest()
    {
        string guest = GuestFiles.Require("bare/six.elf");
        string folder = packed.NewProject("tool");
        packed.Dotnet(folder, "tool", "install", "kvmsharp", "--tool-path", "bin", "--version", PackedFolder.Version);
        string root = Path.GetDirectoryName(Path.GetDirectoryName(Path.GetDirectoryName(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory().TrimEnd('/'))))!;
        Tool.Run(folder, Path.Combine(folder, "bin", "kvmsharp"), ["run", guest], ("DOTNET_ROOT", root)).TrimEnd().Should().Be("K");
    }

    /// <summary>The version of somebody else's package that this repository takes.</summary>
    private static string VersionOf(string id) => XDocument.Load(GuestFiles.RequireSource("Directory.Packages.props")).Descendants("PackageVersion")
        .Single(package => (string?)package.Attribute("Include") == id).Attribute("Version")!.Value;

    private static IEnumerable<string> Names(ZipArchive archive) => archive.Entries.Select(entry => entry.FullName);
}
