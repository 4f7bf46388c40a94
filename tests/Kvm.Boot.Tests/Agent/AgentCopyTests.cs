using Kvm.Vmm.Agent;

namespace Kvm.Boot.Tests.Agent;

/// <summary>Files and folders copied to a guest and back by its agent. One guest for all of them.</summary>
public sealed class AgentCopyTests(AgentGuest guest) : IClassFixture<AgentGuest>
{
    private static readonly DateTime s_long = new(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc);
    private static readonly string[] s_oddNames = ["a b", "-rf", "new\nline", "ü€", "'\"$(x)`", "...", "..x", "*", new string('n', 255)];

    [SkippableFact]
    public async Task A_file_that_goes_to_the_guest_and_comes_back_is_the_same_with_mode_and_time()
    {
        var client = await guest.ClientAsync();
        string file = Temporary("file"), back = Temporary("back");
        byte[] bytes = new byte[300_001];
        new Random(2).NextBytes(bytes);
        await File.WriteAllBytesAsync(file, bytes);
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.OtherRead);
        File.SetLastWriteTimeUtc(file, s_long);

        (await client.CopyToAsync(file, "/tmp/there")).Should().BeEmpty();
        (await client.CopyFromAsync("/tmp/there", back)).Should().BeEmpty();

        (await File.ReadAllBytesAsync(back)).AsSpan().SequenceEqual(bytes).Should().BeTrue();
        File.GetUnixFileMode(back).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.OtherRead);
        File.GetLastWriteTimeUtc(back).Should().Be(s_long);
        (await client.ExecAsync("sh", "-c", "stat -c '%a %Y' /tmp/there")).Output.Should().Be($"504 {new DateTimeOffset(s_long).ToUnixTimeSeconds()}\n");
    }

    [SkippableFact]
    public async Task A_file_goes_into_a_folder_that_is_there_under_its_own_name()
    {
        var client = await guest.ClientAsync();
        string file = Temporary("named"), folder = Directory.CreateDirectory(Temporary("into")).FullName;
        await File.WriteAllTextAsync(file, "x");

        await client.CopyToAsync(file, "/run");
        await client.CopyFromAsync("/run/named", folder);

        (await client.ExecAsync("cat", "/run/named")).Output.Should().Be("x");
        (await File.ReadAllTextAsync(Path.Combine(folder, "named"))).Should().Be("x");
    }

    [SkippableFact]
    public async Task A_folder_with_odd_names_links_and_empty_folders_goes_both_ways()
    {
        var client = await guest.ClientAsync();
        string tree = Directory.CreateDirectory(Temporary("tree")).FullName, back = Temporary("tree-back");
        foreach (string name in s_oddNames)
            await File.WriteAllTextAsync(Path.Combine(tree, name), "content of " + name);
        Directory.CreateDirectory(Path.Combine(tree, "deep/er/est"));
        await File.WriteAllBytesAsync(Path.Combine(tree, "deep/empty"), []);
        File.CreateSymbolicLink(Path.Combine(tree, "deep/link"), "../a b");
        File.CreateSymbolicLink(Path.Combine(tree, "deep/out"), "/etc");
        Directory.SetLastWriteTimeUtc(Path.Combine(tree, "deep"), s_long);

        await client.CopyToAsync(tree, "/tmp/tree", recursive: true);
        await client.CopyFromAsync("/tmp/tree", back, recursive: true);
        await client.CopyFromAsync("/tmp/tree", back + "-2", recursive: true);
        await client.CopyFromAsync("/tmp/tree/.", back + "-3", recursive: true);

        foreach (string copy in new[] { back, back + "-2", back + "-3" })
        {
            foreach (string name in s_oddNames)
                (await File.ReadAllTextAsync(Path.Combine(copy, name))).Should().Be("content of " + name);
            Directory.Exists(Path.Combine(copy, "deep/er/est")).Should().BeTrue();
            new FileInfo(Path.Combine(copy, "deep/empty")).Length.Should().Be(0);
            new FileInfo(Path.Combine(copy, "deep/link")).LinkTarget.Should().Be("../a b");
            new FileInfo(Path.Combine(copy, "deep/out")).LinkTarget.Should().Be("/etc");
            Directory.GetLastWriteTimeUtc(Path.Combine(copy, "deep")).Should().Be(s_long);
        }
    }

    [SkippableFact]
    public async Task A_folder_below_a_link_in_the_target_is_refused_and_nothing_is_made_behind_it()
    {
        var client = await guest.ClientAsync();
        string outside = Directory.CreateDirectory(Temporary("outside")).FullName, target = Directory.CreateDirectory(Temporary("target")).FullName;
        await client.ExecAsync("sh", "-c", "mkdir -p /tmp/evil/sub; echo x > /tmp/evil/sub/file");
        Directory.CreateDirectory(Path.Combine(target, "evil"));
        Directory.CreateSymbolicLink(Path.Combine(target, "evil/sub"), outside);

        var error = (await client.Awaiting(c => c.CopyFromAsync("/tmp/evil", target, recursive: true)).Should().ThrowAsync<AgentException>()).Which;

        error.Error.Should().Be(AgentErrors.HostFile);
        Directory.EnumerateFileSystemEntries(outside).Should().BeEmpty();
        // And the other way.
        string tree = Directory.CreateDirectory(Temporary("other")).FullName;
        Directory.CreateDirectory(Path.Combine(tree, "sub"));
        await File.WriteAllTextAsync(Path.Combine(tree, "sub/file"), "x");
        await client.ExecAsync("sh", "-c", "mkdir -p /tmp/other /tmp/elsewhere; ln -s /tmp/elsewhere /tmp/other/sub");
        var there = (await client.Awaiting(c => c.CopyToAsync(tree, "/tmp", recursive: true)).Should().ThrowAsync<AgentException>()).Which;
        there.Error.Should().Be(AgentErrors.GuestFile);
        (await client.ExecAsync("ls", "/tmp/elsewhere")).Output.Should().BeEmpty();
    }

    [SkippableFact]
    public async Task Paths_that_cannot_be_copied_are_typed_errors()
    {
        var client = await guest.ClientAsync();
        string file = Temporary("plain"), folder = Directory.CreateDirectory(Temporary("folder")).FullName;
        await File.WriteAllTextAsync(file, "x");

        (await Failure(c => c.CopyFromAsync("/no/such", file))).Should().Be(AgentErrors.GuestFile);
        (await Failure(c => c.CopyFromAsync("/tmp", folder))).Should().Be(AgentErrors.GuestFile, "it is a folder");
        (await Failure(c => c.CopyFromAsync("/dev/zero", file))).Should().Be(AgentErrors.GuestFile, "it has no end");
        (await Failure(c => c.CopyFromAsync("/init", "/no/such/x"))).Should().Be(AgentErrors.HostFile);
        (await Failure(c => c.CopyFromAsync("/tmp/..", folder, recursive: true))).Should().Be(AgentErrors.HostFile, "it has no name");
        (await Failure(c => c.CopyToAsync("/no/such", "/tmp"))).Should().Be(AgentErrors.HostFile);
        (await Failure(c => c.CopyToAsync(folder, "/tmp"))).Should().Be(AgentErrors.HostFile, "it is a folder");
        (await Failure(c => c.CopyToAsync("/dev/zero", "/tmp"))).Should().Be(AgentErrors.HostFile);
        (await Failure(c => c.CopyToAsync(file, "/no/such/x"))).Should().Be(AgentErrors.GuestFile);
        (await Failure(c => c.CopyToAsync(file, "/proc/version"))).Should().Be(AgentErrors.GuestFile, "it may not be written");
        (await File.ReadAllTextAsync(file)).Should().Be("x", "what could not be copied did not touch it");

        async Task<Kvm.Vmm.ErrorInfo> Failure(Func<AgentClient, Task> copy) => (await client.Awaiting(copy).Should().ThrowAsync<AgentException>()).Which.Error;
    }

    [SkippableFact]
    public async Task Pipes_and_devices_in_a_folder_are_left_out_and_named()
    {
        var client = await guest.ClientAsync();
        string back = Temporary("left-out");
        await client.ExecAsync("sh", "-c", "mkdir -p /tmp/left; echo x > /tmp/left/file; mkfifo /tmp/left/pipe; mknod /tmp/left/null c 1 3");

        var left = await client.CopyFromAsync("/tmp/left", back, recursive: true);

        left.Should().HaveCount(2).And.Contain(text => text.Contains("pipe")).And.Contain(text => text.Contains("null"));
        Directory.EnumerateFileSystemEntries(back).Select(Path.GetFileName).Should().Equal("file");
    }

    [SkippableFact]
    public async Task Names_that_are_no_UTF_8_come_back_as_they_were()
    {
        var client = await guest.ClientAsync();
        string back = Temporary("bytes");
        await client.ExecAsync("sh", "-c", "mkdir /tmp/bytes; printf x > \"/tmp/bytes/$(printf '\\377\\376')\"");

        await client.CopyFromAsync("/tmp/bytes", back, recursive: true);
        await client.CopyToAsync(back, "/tmp/bytes-2", recursive: true);
        // The class library cannot name what is in it, so nor remove it.
        using (var remove = System.Diagnostics.Process.Start("rm", ["-r", back]))
            await remove.WaitForExitAsync();

        (await client.ExecAsync("sh", "-c", "cd /tmp/bytes-2; for f in *; do printf %s \"$f\" | od -An -tx1; done")).Output.Trim().Should().Be("ff fe");
    }

    private string Temporary(string name) => Path.Combine(guest.Folder, name);
}
