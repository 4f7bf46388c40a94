using System.Diagnostics;
using System.Security.Cryptography;

namespace Kvm.Boot.Tests;

/// <summary>A real ext4 file system in a raw file, made, looked into and checked by the host's own tools (e2fsprogs).</summary>
internal sealed class Ext4Disk : IDisposable
{
    private const int FromHostBytes = 3_000_000;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-ext4").FullName;

    /// <summary>Makes a disk of 64 MiB with the files that tests/guest/run/disk expects; skips the calling test where there are no tools.</summary>
    /// <param name="root">It has a root file system too: busybox, and the project's init, which runs <paramref name="task"/> for <c>kvmsharp.run=root</c>.</param>
    /// <param name="task">Commands: a shell on the console unless others are given.</param>
    public Ext4Disk(bool root = false, string task = "setsid cttyhack sh\n")
    {
        string make = GuestFiles.RequireProgram("mkfs.ext4");
        string files = Directory.CreateDirectory(Path.Combine(_folder, "files")).FullName;
        byte[] content = RandomNumberGenerator.GetBytes(FromHostBytes);
        File.WriteAllBytes(Path.Combine(files, "from-host"), content);
        File.WriteAllText(Path.Combine(files, "from-host.sum"), $"{Sum(content)}  from-host\n");
        File.WriteAllText(Path.Combine(files, "to-delete"), "x");
        if (root)
            AddRoot(files, task);
        using (var file = File.Create(FilePath))
            file.SetLength(64 << 20);
        Run(make, "-q", "-d", files, FilePath).Code.Should().Be(0);
    }

    /// <summary>A place beside the disk.</summary>
    public string PathOf(string name) => Path.Combine(_folder, name);

    public string FilePath => Path.Combine(_folder, "disk.img");

    /// <summary>Asserts that the file system needs no repair and holds what the guest says it wrote.</summary>
    public void ShouldBeWhole() => ShouldBeWhole(FilePath);

    /// <summary>The same of a copy somewhere else.</summary>
    public void ShouldBeWhole(string path)
    {
        var check = Run(GuestFiles.RequireProgram("e2fsck"), "-fn", path);
        check.Code.Should().Be(0, check.Output);
        string debug = GuestFiles.RequireProgram("debugfs"), written = Path.Combine(_folder, "from-guest");
        Run(debug, "-R", $"dump /from-guest {written}", path).Code.Should().Be(0);
        string sum = Run(debug, "-R", "cat /from-guest.sum", path).Output;
        sum.Should().Contain(Sum(File.ReadAllBytes(written)) + "  from-guest");
        Run(debug, "-R", "stat /to-delete", path).Output.Should().Contain("File not found");
    }

    /// <summary>Asserts that a copy of the disk, when its journal is replayed, needs no repair and holds files whose sums are in other files.</summary>
    public void ShouldHold(string path, params IEnumerable<(string File, string Sum)> files)
    {
        string check = GuestFiles.RequireProgram("e2fsck"), debug = GuestFiles.RequireProgram("debugfs"), written = PathOf("held");
        // 1: the journal was replayed.
        Run(check, "-p", path).Code.Should().BeOneOf(0, 1);
        var (code, output) = Run(check, "-fn", path);
        code.Should().Be(0, output);
        foreach (var (file, sum) in files)
        {
            File.Delete(written);
            Run(debug, "-R", $"dump /{file} {written}", path).Code.Should().Be(0);
            Run(debug, "-R", $"cat /{sum}", path).Output.Should().Contain($"{Sum(File.ReadAllBytes(written))}  {file}");
        }
    }

    /// <summary>The initial RAM file system's programs, in the places a kernel without one looks for them.</summary>
    private static void AddRoot(string files, string task)
    {
        const UnixFileMode program = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        foreach (string folder in (string[])["bin", "sbin", "proc", "sys", "dev", "run", "mnt"])
            Directory.CreateDirectory(Path.Combine(files, folder));
        foreach (var (member, place) in ((string, string)[])[("bin/busybox", "bin/busybox"), ("init", "sbin/init")])
        {
            string path = Path.Combine(files, place);
            File.WriteAllBytes(path, CpioMember.Read(GuestFiles.Require("initramfs/initramfs.cpio"), member));
            File.SetUnixFileMode(path, program);
        }

        File.WriteAllText(Path.Combine(files, "run", "root"), task);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Sum(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.GetAwaiter().GetResult());
    }
}
