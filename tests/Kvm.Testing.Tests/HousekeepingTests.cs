using System.Text;
using System.Text.RegularExpressions;
using Kvm.Vmm.Probing;

namespace Kvm.Testing.Tests;

/// <summary>What is left behind, what is said, what a guest finds: without a guest.</summary>
public sealed class HousekeepingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-testing").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void The_folder_of_a_process_that_is_gone_is_removed_and_that_of_one_that_lives_is_not()
    {
        string gone = RunFolder.Make(_folder, out var released);
        string alive = RunFolder.Make(_folder, out var held);
        alive.Should().NotBe(gone);
        File.WriteAllText(Path.Combine(gone, "g1.vsock"), "");
        released.Dispose();

        RunFolder.Sweep(_folder);

        Directory.Exists(gone).Should().BeFalse();
        Directory.Exists(alive).Should().BeTrue();
        held.Dispose();
    }

    [Theory]
    [InlineData("Namespace.Class.Method(text: \"a/b\")", "Namespace.Class.Method_text___a_b__")]
    [InlineData("..", "test")]
    [InlineData("../../etc/passwd", "_.._etc_passwd")]
    public void A_tests_name_becomes_the_name_of_a_folder(string test, string folder) =>
        GuestArtifacts.FolderNameOf(test).Should().Be(folder);

    [Fact]
    public void The_reason_why_there_is_no_KVM_is_doctors()
    {
        var report = new DoctorReport
        {
            Checks = [new DoctorCheck("device", "/dev/kvm", DoctorStatus.Failed, "Permission denied") { Cause = "it belongs to the group kvm", Fix = "sudo usermod -aG kvm $USER" }],
            Engines = [],
            Advice = "soft",
            AdviceReason = "KVM cannot run guests here",
            Backend = "none",
            Nested = false,
        };
        HostCheck.WhyNoKvmIn(report).Should().Be("/dev/kvm: Permission denied; it belongs to the group kvm. To mend it: sudo usermod -aG kvm $USER");
        HostCheck.WhyNoKvmIn(report with { Checks = [], AdviceReason = "this KVM interprets kernels" }).Should().Be("this KVM interprets kernels");
        HostCheck.WhyNoKvmIn(report with { Checks = [], Advice = "kvm" }).Should().BeNull();
    }

    [Fact]
    public void An_archive_with_further_files_is_two_archives_with_folders_before_their_files()
    {
        string first = Path.Combine(_folder, "first");
        File.WriteAllText(first, "12345");
        using var output = new MemoryStream();
        Initramfs.Write(output, first, [new GuestFile("/a/b/c", "text"u8.ToArray(), UnixFileMode.UserRead), new GuestFile("a/d", default)]);
        string text = Encoding.ASCII.GetString(output.ToArray());
        text.Should().StartWith("12345\0\0\0070701");
        Regex.Matches(text, "070701[0-9a-f]{8}([0-9a-f]{8})[0-9a-f]{88}([^\0]+)\0").Select(m => (m.Groups[1].Value, m.Groups[2].Value)).Should()
            .Equal(("000041ed", "a"), ("000041ed", "a/b"), ("00008100", "a/b/c"), ("000081ed", "a/d"), ("00000000", "TRAILER!!!"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a/../b")]
    [InlineData("a//b")]
    public void A_file_cannot_have_a_name_that_leads_elsewhere(string name)
    {
        string first = Path.Combine(_folder, "first");
        File.WriteAllText(first, "");
        FluentActions.Invoking(() => Initramfs.Write(new MemoryStream(), first, [new GuestFile(name, default)])).Should().Throw<ArgumentException>();
    }

    [Fact]
    public async Task A_console_keeps_the_end_of_what_was_printed_and_finds_lines_in_it()
    {
        var console = new GuestConsole();
        byte[] line = Encoding.ASCII.GetBytes(new string('x', 99) + "\n");
        for (int i = 0; i < 2 * GuestConsole.MostChars / 100; i++)
            console.Write(line);
        console.Text.Length.Should().BeLessThanOrEqualTo(GuestConsole.MostChars);
        console.Position.Should().BeGreaterThan(GuestConsole.MostChars);
        long here = console.Position;
        console.Write("gr"u8.ToArray().Append((byte)0xc3).ToArray());
        var waiting = console.WaitForLineAsync(new Regex("^grün$"), here);
        console.Write((byte[])[0xbc, (byte)'n', (byte)'\r']);
        waiting.IsCompleted.Should().BeFalse("the line has no end yet");
        console.Write("\nnext"u8);
        (await waiting).Should().Be("grün");
    }

    [Fact]
    public async Task Who_waits_for_a_line_of_a_console_that_is_closed_learns_why()
    {
        var console = new GuestConsole();
        console.Write("before\n"u8);
        var waiting = console.WaitForLineAsync(new Regex("never"));
        console.Close(new GuestException("gone"));
        await waiting.Awaiting(task => task).Should().ThrowAsync<GuestException>().WithMessage("gone");
        await console.Awaiting(c => c.WaitForLineAsync(new Regex("never"))).Should().ThrowAsync<GuestException>();
        (await console.WaitForLineAsync(new Regex("before"))).Should().Be("before");
    }
}
