using System.Diagnostics;
using Kvm.Boot.Tests;

namespace Kvm.Cli.Tests;

/// <summary>The program is killed while a guest writes to a qcow2 disk.</summary>
public sealed class Qcow2KillTests
{
    private const string Marker = "GUEST-SYNCED ";

    private const string Task = $"i=0; while :; do i=$((i+1)); dd if=/dev/urandom of=/f$i bs=64k count=4 2>/dev/null; (cd /; sha256sum f$i >s$i); sync; echo {Marker}$i; done\n";

    [SkippableFact]
    public async Task Kill_9_leaves_an_image_without_corruption_and_every_file_the_guest_synced()
    {
        Published.Require();
        QemuImg.SkipIfMissing();
        string kernel = GuestFiles.Require("small/vmlinux");
        using var disk = new Ext4Disk(root: true, Task);
        string image = disk.PathOf("disk.qcow2"), merged = disk.PathOf("merged.raw");
        QemuImg.Run("create", "-q", "-f", "qcow2", "-b", disk.FilePath, "-F", "raw", image);
        using (var process = Published.Start("run", kernel, "--engine", "soft", "--disk", image, "--allow-backing", "--append", "kvmsharp.run=root"))
        {
            try
            {
                var errors = process.StandardError.ReadToEndAsync();
                (await Synced(process, 5)).Should().BeTrue("the guest gets that far");
            }
            finally
            {
                process.Kill(); // SIGKILL
                await process.WaitForExitAsync();
            }
        }

        var (code, text) = QemuImg.Check(image);
        code.Should().BeOneOf([0, 3], text);
        QemuImg.Run("convert", "-f", "qcow2", "-O", "raw", image, merged);
        // What ext4 had not flushed is its journal's to bring back.
        disk.ShouldHold(merged, [.. Enumerable.Range(1, 5).Select(i => ($"f{i}", $"s{i}"))]);
    }

    /// <summary>Reads what the guest prints until it has synced so many files; false if it ends, or takes longer than anything takes.</summary>
    private static async Task<bool> Synced(Process process, int files)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(4));
        try
        {
            while (await process.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                if (line.TrimEnd() == $"{Marker}{files}")
                    return true;
            }
        }
        catch (OperationCanceledException)
        {
        }

        return false;
    }
}
