namespace Kvm.Cli.Tests;

/// <summary>How scripts/kvm-unit-tests reads that project's list.</summary>
public sealed class KvmUnitTestsScriptTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvmsharp-kut-");

    public void Dispose() => _folder.Delete(recursive: true);

    private static Ended Script(string arguments) => Published.Shell($"'{Path.Combine(Published.Root(), "scripts", "kvm-unit-tests")}' {arguments}");

    private string[] List(string text)
    {
        _folder.CreateSubdirectory("x86");
        File.WriteAllText(Path.Combine(_folder.FullName, "x86", "unittests.cfg"), text);
        var ended = Script($"'{_folder.FullName}' --list");
        ended.ExitCode.Should().Be(0, ended.Error);
        return ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    [Fact]
    public void A_list_has_a_line_per_test_with_what_was_said_and_one_processor_otherwise() => List(
        """
        # a comment
        [one]
        file = one.flat

        [two]
        file = two.flat
        smp = 3
        # another
        test_args = "10 `date +%s`"
        qemu_params = -cpu max,+svm -m 4g
        arch = x86_64
        groups = vmexit nodefault
        timeout = 30
        check = /sys/a=Y /sys/b=N
        accel = kvm
        """).Should().Equal(
            "one|one.flat|1|||||||",
            "two|two.flat|3|\"10 `date +%s`\"|-cpu max,+svm -m 4g|vmexit nodefault|x86_64|/sys/a=Y /sys/b=N|kvm|30");

    [Fact]
    public void The_older_name_of_parameters_and_odd_spaces_are_read_too() =>
        List("[one]\nfile=one.flat\nextra_params =   -cpu qemu64 \nunknown = x\n").Should().Equal("one|one.flat|1||-cpu qemu64|||||");

    [Fact]
    public void A_folder_that_is_something_else_is_refused_with_what_is_missing()
    {
        var ended = Script($"'{_folder.FullName}'");
        ended.ExitCode.Should().Be(1);
        ended.Output.Should().BeEmpty();
        ended.Error.Should().Contain("x86/unittests.cfg");
    }

    [SkippableFact]
    public void The_projects_own_list_is_read_whole()
    {
        string? folder = Environment.GetEnvironmentVariable("KVMSHARP_KVM_UNIT_TESTS");
        Skip.If(folder is null, "KVMSHARP_KVM_UNIT_TESTS does not say where the sources of kvm-unit-tests are");
        var ended = Script($"'{folder}' --list");
        ended.ExitCode.Should().Be(0, ended.Error);
        string[] tests = ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        int sections = File.ReadLines(Path.Combine(folder!, "x86", "unittests.cfg")).Count(line => line.StartsWith('['));
        tests.Should().HaveCount(sections);
        tests.Select(line => line.Split('|')[1]).Should().OnlyContain(file => file.EndsWith(".flat", StringComparison.Ordinal));
        tests.Should().ContainSingle(line => line.StartsWith("smptest3|smptest.flat|3|", StringComparison.Ordinal));
    }
}
