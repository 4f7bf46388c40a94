using System.Text;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public sealed class RotatingFileTargetTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-console-").FullName;

    private string Path => System.IO.Path.Combine(_folder, "console");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Kept => (File.Exists(Path + ".old") ? File.ReadAllText(Path + ".old") : "") + File.ReadAllText(Path);

    [Fact]
    public void Below_the_cap_one_file_holds_everything()
    {
        using (var target = new RotatingFileTarget(Path, cap: 100))
        {
            target.Write("hello "u8).Should().BeTrue();
            target.Write("world"u8).Should().BeTrue();
            target.DroppedBytes.Should().Be(0);
        }

        File.ReadAllText(Path).Should().Be("hello world");
        File.Exists(Path + ".old").Should().BeFalse();
    }

    [Fact]
    public void Half_full_it_begins_anew_and_keeps_the_older_half()
    {
        using (var target = new RotatingFileTarget(Path, cap: 10))
            target.Write("abcdefg"u8).Should().BeTrue();
        File.ReadAllText(Path + ".old").Should().Be("abcde");
        File.ReadAllText(Path).Should().Be("fg");
    }

    [Fact]
    public void What_is_kept_is_the_newest_and_what_is_dropped_is_counted()
    {
        var text = string.Concat(Enumerable.Range(0, 1000).Select(i => $"{i:d4}"));
        using var target = new RotatingFileTarget(Path, cap: 1000);
        foreach (var piece in text.Chunk(77))
            target.Write(Encoding.ASCII.GetBytes(piece)).Should().BeTrue();
        Kept.Length.Should().BeLessThanOrEqualTo(1000);
        text.Should().EndWith(Kept);
        (target.DroppedBytes + Kept.Length).Should().Be(text.Length);
    }

    [Fact]
    public void An_older_file_is_emptied()
    {
        File.WriteAllText(Path, "from an earlier run");
        new RotatingFileTarget(Path).Dispose();
        File.ReadAllText(Path).Should().BeEmpty();
    }

    [Fact]
    public void A_file_that_cannot_be_made_throws_what_callers_expect()
    {
        var act = () => new RotatingFileTarget(System.IO.Path.Combine(_folder, "missing", "console"));
        act.Should().Throw<IOException>();
        var folder = () => new RotatingFileTarget(_folder);
        folder.Should().Throw<UnauthorizedAccessException>();
    }

    [SkippableFact]
    public void A_full_disk_ends_the_writing_and_not_the_program()
    {
        Skip.IfNot(File.Exists("/dev/full"), "there is no /dev/full");
        using var target = new RotatingFileTarget("/dev/full");
        target.Write("x"u8).Should().BeFalse();
    }
}
