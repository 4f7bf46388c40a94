using Kvm.Boot.Tests;

namespace Kvm.Cli.Tests;

/// <summary>docs/examples/snapshots.sh: a guest that counts goes on from where it was saved, beside itself, and from a backup when all else is gone.</summary>
public sealed class SnapshotExampleTests
{
    [SkippableFact]
    public void The_example_in_the_documents_does_what_it_says()
    {
        Published.Require();
        string kernel = GuestFiles.Require("small/vmlinux"), initrd = GuestFiles.Require("initramfs/initramfs.cpio");
        Skip.IfNot(File.ReadAllBytes(initrd).AsSpan().IndexOf("COUNT $i"u8) >= 0, "the guests are older than the script that counts: scripts/guest-kernel initramfs");
        var ended = Published.Shell($"{Path.Combine(Published.Root(), "docs", "examples", "snapshots.sh")} {kernel} {initrd} --engine soft --memory 128M");
        ended.ExitCode.Should().Be(0, ended.Output + ended.Error);
        ended.Output.Should().Contain("the first number after the snapshot: ").And.Contain("the first number after the backup: ").And.MatchRegex("addresses: [3-9]").And.EndWith("== done\n");
    }
}
