using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Kvm.Architecture.Tests;

/// <summary>Who may know whom (ARCHITECTURE.md, "The one picture").</summary>
public sealed partial class ArrowTests
{
    private static readonly Dictionary<string, string[]> _allowed = new()
    {
        ["Kvm.Interop"] = [],
        ["Kvm.Devices"] = [],
        ["Kvm.X86"] = ["Kvm.Devices"],
        ["Kvm.Vmm"] = ["Kvm.Interop", "Kvm.Devices", "Kvm.X86", "Kvm.Sched"],
        ["Kvm.Sched"] = [],
        ["Kvm"] = ["Kvm.Vmm"],
        ["Kvm.Testing"] = ["Kvm.Vmm"],
        ["Kvm.Testing.Xunit"] = ["Kvm.Testing"],
        ["Kvm.Testing.Xunit3"] = ["Kvm.Testing"],
        ["Kvm.Labs"] = ["Kvm.Vmm", "Kvm.Devices", "Kvm.X86", "Kvm.Sched"],
        ["Kvm.Web"] = [],
        ["Kvm.Manager"] = ["Kvm.Vmm"],
        ["Kvm.Api"] = ["Kvm.Vmm", "Kvm.Devices", "Kvm.Manager", "Kvm.Web"],
        ["Kvm.Cli"] = ["Kvm.Vmm", "Kvm.Sched", "Kvm.Labs", "Kvm.Manager", "Kvm.Web", "Kvm.Api"],
    };

    public static TheoryData<string> Projects => [.. Directory.GetDirectories(Repository.PathOf("src")).Select(folder => Path.GetFileName(folder)!).Order()];

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_references_only_what_its_arrows_allow(string project)
    {
        _allowed.Should().ContainKey(project, "a new project needs its arrows in this test and in ARCHITECTURE.md");
        var references = XDocument.Load(Repository.PathOf($"src/{project}/{project}.csproj")).Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/')));
        references.Should().BeSubsetOf(_allowed[project]);
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_compiled_project_refers_to_no_other_project_than_its_arrows_allow(string project)
    {
        var references = Assembly(project).GetReferencedAssemblies().Select(name => name.Name!).Where(IsOurs);
        // Through Kvm.Vmm, the command line sees the types of its public members.
        var allowed = project == "Kvm.Cli" ? _allowed.Keys.Except(["Kvm.Interop", "Kvm.Cli"]) : _allowed[project];
        references.Should().BeSubsetOf(allowed);
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_file_is_in_the_namespace_of_its_project(string project)
    {
        var strays = from file in Repository.SourceFiles($"src/{project}")
                     let name = NamespaceLine().Match(Repository.Read(file)).Groups[1].Value
                     where name.Length > 0 && name != project && !name.StartsWith(project + ".", StringComparison.Ordinal)
                     select $"{file}: {name}";
        strays.Should().BeEmpty();
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void Native_functions_are_imported_by_Kvm_Interop_alone(string project)
    {
        const BindingFlags every = BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        var imports = from type in Assembly(project).GetTypes()
                      from method in type.GetMethods(every)
                      where method.Attributes.HasFlag(MethodAttributes.PinvokeImpl)
                      select $"{type.FullName}.{method.Name}";
        if (project != "Kvm.Interop")
            imports.Should().BeEmpty();

        var declared = from file in Repository.SourceFiles("src")
                       where !file.StartsWith("src/Kvm.Interop/", StringComparison.Ordinal)
                       let code = Source.CodeOnly(Repository.Read(file))
                       where ImportAttribute().IsMatch(code)
                       select file;
        declared.Should().BeEmpty();
    }

    [Fact]
    public void Only_the_command_line_writes_to_a_console()
    {
        var writers = from file in Repository.SourceFiles("src")
                      where !file.StartsWith("src/Kvm.Cli/", StringComparison.Ordinal)
                      where ConsoleUse().IsMatch(Source.CodeOnly(Repository.Read(file)))
                      select file;
        writers.Should().BeEmpty();
    }

    private static bool IsOurs(string name) => name.StartsWith("Kvm.", StringComparison.Ordinal);

    private static Assembly Assembly(string project) =>
        System.Reflection.Assembly.Load(project == "Kvm.Cli" ? "kvmsharp" : project);

    [GeneratedRegex(@"^namespace ([\w.]+)", RegexOptions.Multiline)]
    private static partial Regex NamespaceLine();

    [GeneratedRegex(@"\b(DllImport|LibraryImport)\b")]
    private static partial Regex ImportAttribute();

    [GeneratedRegex(@"(?<![\w.])Console\.\w")]
    private static partial Regex ConsoleUse();
}
