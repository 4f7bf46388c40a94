using System.Text.RegularExpressions;

namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp disk</c> as a process: what it prints, its exit codes, what it leaves.</summary>
public sealed partial class DiskTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-disk").FullName;

    public DiskTests() => Published.Require();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string At(string name) => Path.Combine(_folder, name);

    private string[] Files => [.. Directory.GetFiles(_folder).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];

    private Ended Shell(string command) => Published.Shell($"cd '{_folder}' && kvmsharp() {{ \"$KVMSHARP\" \"$@\"; }} && {command}");

    [GeneratedRegex("```sh\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Examples();

    [SkippableFact]
    public void Examples_of_the_document_work_line_by_line()
    {
        bool hasQemu = Published.Shell("command -v qemu-img").ExitCode == 0;
        string text = Examples().Match(File.ReadAllText(Path.Combine(Published.Root(), "docs", "disks.md"))).Groups[1].Value;
        string[] lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        lines.Should().HaveCountGreaterThan(10);
        foreach (string line in lines)
        {
            if (!hasQemu && (line.Contains("qemu-img", StringComparison.Ordinal) || line.Contains("theirs", StringComparison.Ordinal) || line.Contains("ours", StringComparison.Ordinal)))
                continue;
            var ended = Shell(line);
            ended.ExitCode.Should().Be(0, $"{line} says: {ended.Error}");
        }

        Files.Should().NotContain(f => f.EndsWith(".part", StringComparison.Ordinal));
    }

    [SkippableTheory]
    [InlineData("disk", "KVM0002", "needs a word")]
    [InlineData("disk creat x", "KVM0001", "did you mean create")]
    [InlineData("disk info", "KVM0002", "needs a FILE")]
    [InlineData("disk info a b", "KVM0001", "does not take 'b'")]
    [InlineData("disk convert a", "KVM0002", "needs an OUTPUT")]
    [InlineData("disk resize a", "KVM0002", "needs a SIZE")]
    [InlineData("disk resize a huge", "KVM0003", "is not a size")]
    [InlineData("disk rebase a", "KVM0002", "needs --backing")]
    [InlineData("disk info -f vdi a", "KVM0003", "is not one of raw")]
    [InlineData("disk convert -O vmdk a b", "KVM0003", "is not one of raw")]
    [InlineData("disk create -o color=red a 1M", "KVM0003", "has the option")]
    public void Wrong_usage_is_said(string line, string id, string part) => Published.Run(line.Split(' ')).ShouldFail(2, id, part);

    [SkippableFact]
    public void Bad_input_has_its_own_exit_codes_and_leaves_nothing()
    {
        File.WriteAllBytes(At("junk.qcow2"), new byte[4096]);
        File.WriteAllBytes(At("a.img"), new byte[1 << 20]);
        Published.Run("disk", "convert", At("missing.img"), At("b.img")).ShouldFail(3, "KVM0150");
        Published.Run("disk", "convert", At("junk.qcow2"), At("b.img")).ShouldFail(3, "KVM0154");
        Published.Run("disk", "check", At("junk.qcow2")).ShouldFail(3, "KVM0154");
        Published.Run("disk", "convert", At("a.img"), At("junk.qcow2")).ShouldFail(2, "KVM0160");
        Published.Run("disk", "convert", "--force", At("a.img"), At("a.img")).ShouldFail(2, "KVM0161");
        Published.Run("disk", "convert", At("a.img"), At("no/b.img")).ShouldFail(1, "KVM0163");
        Published.Run("disk", "resize", At("a.img"), "4K").ShouldFail(2, "KVM0165", "--shrink");
        Published.Run("disk", "create", At("c.qcow2")).ShouldFail(2, "KVM0165");
        Files.Should().Equal("a.img", "junk.qcow2");
    }

    [SkippableTheory]
    [InlineData("b.qcow2", "")]
    [InlineData("b.qcow2", "-c")]
    public void Output_that_becomes_too_large_is_an_error_and_is_removed(string output, string flag)
    {
        byte[] content = new byte[8 << 20];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(At("a.img"), content);
        // In blocks of 1,024 bytes; the signal that comes with it is the program's to ignore. A build that compiles as it runs keeps code in a file.
        var ended = Shell($"export DOTNET_EnableWriteXorExecute=0; ulimit -f 2048; kvmsharp disk convert {flag} a.img {output}");
        ended.ShouldFail(1, "KVM0163");
        Files.Should().Equal("a.img");
    }

    [SkippableFact]
    public void Signal_leaves_the_whole_output_or_nothing_of_it()
    {
        byte[] content = new byte[64 << 20];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(At("a.img"), content);
        using var program = Published.Start("disk", "convert", "-c", "-f", "raw", At("a.img"), At("b.qcow2"));
        // It has begun when the file that is being made is there; whether the signal comes before its end is the machine's affair.
        SpinWait.SpinUntil(() => program.HasExited || Files.Length > 1, TimeSpan.FromSeconds(30)).Should().BeTrue();
        Published.Shell($"kill -INT {program.Id}");
        program.WaitForExit(60_000).Should().BeTrue();
        string[] whole = ["a.img", "b.qcow2"], nothing = ["a.img"];
        Files.Should().Equal(program.ExitCode == 130 ? nothing : whole);
        program.ExitCode.Should().BeOneOf(0, 130);
    }

    [SkippableFact]
    public void Json_is_one_document_and_comparisons_tell_by_the_exit_code()
    {
        File.WriteAllBytes(At("a.img"), new byte[1 << 20]);
        Published.Run("disk", "convert", "--json", At("a.img"), At("b.qcow2")).Json.GetProperty("file").GetString().Should().Be(At("b.qcow2"));
        var info = Published.Run("disk", "info", "--json", At("b.qcow2")).Json;
        info.GetProperty("size").GetInt64().Should().Be(1 << 20);
        info.GetProperty("qcow2").GetProperty("clusterSize").GetInt32().Should().Be(65536);
        Published.Run("disk", "map", "--json", At("b.qcow2")).Json.EnumerateArray().Single().GetProperty("kind").GetString().Should().Be("zeros");
        Published.Run("disk", "check", "--json", At("b.qcow2")).Json.GetProperty("clean").GetBoolean().Should().BeTrue();
        var same = Published.Run("disk", "compare", At("a.img"), At("b.qcow2"));
        (same.ExitCode, same.Output).Should().Be((0, "The disks read the same.\n"));
        using (var file = File.OpenWrite(At("a.img")))
        {
            file.Position = 5000;
            file.WriteByte(1);
        }

        var differ = Published.Run("disk", "compare", "--json", At("a.img"), At("b.qcow2"));
        differ.ExitCode.Should().Be(1);
        differ.Json.GetProperty("firstDifference").GetInt64().Should().Be(5000);
        differ.Error.Should().BeEmpty("nothing is said of progress where there is no terminal");
    }
}
