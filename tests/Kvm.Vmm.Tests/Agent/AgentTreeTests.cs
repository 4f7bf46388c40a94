using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Agent;

namespace Kvm.Vmm.Tests.Agent;

/// <summary>Copies from guests that lie: nothing is made outside of the target, and no half of a file stays.</summary>
public sealed class AgentTreeTests : IDisposable
{
    private const byte AFile = 1, AFolder = 2, ALink = 3;

    private readonly FakeAgent _agent = new();
    private readonly string _target;

    public AgentTreeTests() => _target = Directory.CreateDirectory(Path.Combine(_agent.Folder, "target")).FullName;

    public void Dispose() => _agent.Dispose();

    private static byte[] FileEnd => FakeAgent.Frame(AgentFrame.FileEnd, 0, 0, 0, 0);

    private static byte[] FolderEnd => FakeAgent.Frame(AgentFrame.FolderEnd);

    private static byte[] TreeEnd => FakeAgent.Frame(AgentFrame.TreeEnd);

    private static byte[] Data(string text) => FakeAgent.Frame(AgentFrame.Data, Encoding.UTF8.GetBytes(text));

    public static TheoryData<string, byte[][]> Lies() => new()
    {
        { "a name of two dots", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "..")] },
        { "a name of one dot", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFolder, ".")] },
        { "a name with a slash", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "../out")] },
        { "an absolute name", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "/tmp/out")] },
        { "a name with a zero", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "a\0b")] },
        { "no name", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "")] },
        { "a name of 256 bytes", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, new string('n', 256))] },
        { "a file with a target", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "a", "b")] },
        { "a link without one", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(ALink, "a")] },
        { "a kind that does not exist", [FakeAgent.Node(9, "x")] },
        { "a link in place of the copy", [FakeAgent.Node(ALink, "x", "/etc")] },
        { "an end before a beginning", [TreeEnd] },
        { "data without a file", [Data("x")] },
        { "a folder's end without a folder", [FakeAgent.Node(AFile, "x"), FileEnd, FolderEnd] },
        { "two copies", [FakeAgent.Node(AFile, "x"), FileEnd, FakeAgent.Node(AFile, "y")] },
        { "a file in a file", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "a"), FakeAgent.Node(AFile, "b")] },
        { "an end in a file", [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(AFile, "a"), FolderEnd] },
        { "an end in a folder", [FakeAgent.Node(AFolder, "x"), TreeEnd] },
        { "an end of a file without a number", [FakeAgent.Node(AFile, "x"), FakeAgent.Frame(AgentFrame.FileEnd)] },
        { "folders without end", [.. Enumerable.Repeat(FakeAgent.Node(AFolder, "d"), 300)] },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task A_tree_that_is_none_is_a_typed_error_and_stays_inside(string what, byte[][] frames)
    {
        var error = await FailureAsync(deep: true, frames);

        error.Error.Should().Be(AgentErrors.BadProtocol, what);
        Outside().Should().BeEmpty(what);
    }

    [Fact]
    public async Task A_folder_behind_a_link_that_the_guest_made_before_is_not_entered()
    {
        string outside = Directory.CreateDirectory(Path.Combine(_agent.Folder, "outside")).FullName;

        var error = await FailureAsync(deep: true, [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(ALink, "out", outside), FakeAgent.Node(AFolder, "out"), FakeAgent.Node(AFile, "evil"), Data("x"), FileEnd]);

        error.Error.Should().Be(AgentErrors.HostFile);
        Directory.EnumerateFileSystemEntries(outside).Should().BeEmpty();
    }

    [Fact]
    public async Task A_file_behind_a_link_that_the_guest_made_before_is_not_written()
    {
        string outside = Path.Combine(_agent.Folder, "outside");
        await File.WriteAllTextAsync(outside, "mine");

        var error = await FailureAsync(deep: true, [FakeAgent.Node(AFolder, "x"), FakeAgent.Node(ALink, "out", outside), FakeAgent.Node(AFile, "out"), Data("evil"), FileEnd]);

        error.Error.Should().Be(AgentErrors.HostFile);
        (await File.ReadAllTextAsync(outside)).Should().Be("mine");
    }

    [Fact]
    public async Task The_copy_has_the_name_that_was_asked_for_and_not_the_guests_and_no_set_user_id_bits()
    {
        await CopyAsync(deep: false, [FakeAgent.Node(AFile, ".bashrc", mode: 0xfed), Data("x"), FileEnd, TreeEnd]);

        Directory.EnumerateFileSystemEntries(_target).Select(Path.GetFileName).Should().Equal("asked");
        File.GetUnixFileMode(Path.Combine(_target, "asked")).Should().HaveFlag(UnixFileMode.UserExecute).And.NotHaveFlag(UnixFileMode.SetUser).And.NotHaveFlag(UnixFileMode.SetGroup);
    }

    [Fact]
    public async Task A_folder_where_a_file_was_asked_for_is_refused()
    {
        (await FailureAsync(deep: false, [FakeAgent.Node(AFolder, "x")])).Error.Should().Be(AgentErrors.BadProtocol);
        Directory.EnumerateFileSystemEntries(_target).Should().BeEmpty();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_file_whose_rest_does_not_come_is_removed(bool saysWhy)
    {
        byte[][] end = saysWhy ? [FakeAgent.Frame(AgentFrame.FileEnd, 5, 0, 0, 0)] : [];

        var error = await FailureAsync(deep: false, [FakeAgent.Node(AFile, "x"), Data("half"), .. end], hangsUp: !saysWhy);

        error.Error.Should().Be(saysWhy ? AgentErrors.GuestFile : AgentErrors.Lost);
        error.GuestErrno.Should().Be(saysWhy ? 5 : 0);
        Directory.EnumerateFileSystemEntries(_target).Should().BeEmpty();
    }

    [Fact]
    public async Task A_guest_that_refuses_a_copy_in_the_middle_ends_the_sending()
    {
        string file = Path.Combine(_agent.Folder, "large");
        using (var large = File.Create(file))
            large.SetLength(64 << 20);
        byte[] full = [.. AgentProtocol.OfPair(28, 2), .. "large"u8];
        _ = _agent.ServeAsync([.. "OK 1\n"u8, .. FakeAgent.Hello, .. FakeAgent.Frame(AgentFrame.Failed, full)], FakeAgent.UntilHungUpAsync);

        using var link = await AgentLink.OpenAsync(_agent.Path, TimeSpan.Zero, TimeSpan.Zero, AgentFrame.Put, AgentProtocol.Copy("/x", false), default);
        using var source = HostPath.Source(file);
        var send = () => new TreeSender(link, deep: false).SendAsync(source, default);

        var error = (await send.Should().ThrowAsync<AgentException>()).Which;
        error.Error.Should().Be(AgentErrors.GuestFile);
        error.GuestErrno.Should().Be(28);
    }

    [Fact]
    public void Any_bytes_from_a_guest_stay_inside()
    {
        var names = Gen.Elements("a", "b", "..", ".", "a/b", "", "x y");
        var frames = Gen.OneOf(
            from kind in Gen.Choose(0, 4) from name in names from target in Gen.Elements("", "..", "/tmp", "a") select FakeAgent.Node((byte)kind, name, target),
            from kind in Gen.Choose(30, 42) from payload in ArbMap.Default.GeneratorFor<byte[]>() select FakeAgent.Frame((AgentFrame)kind, payload),
            Gen.Elements(FileEnd, FolderEnd, TreeEnd, Data("x")),
            ArbMap.Default.GeneratorFor<byte[]>());
        Prop.ForAll(frames.ListOf().ToArbitrary(), list =>
        {
            try
            {
                CopyAsync(deep: true, [.. list]).GetAwaiter().GetResult();
            }
            catch (AgentException)
            {
            }

            return !Outside().Any();
        }).QuickCheckThrowOnFailure();
    }

    /// <summary>What is beside the target.</summary>
    private IEnumerable<string> Outside() => Directory.EnumerateFileSystemEntries(_agent.Folder).Where(entry => entry != _target && entry != _agent.Path);

    private async Task<AgentException> FailureAsync(bool deep, byte[][] frames, bool hangsUp = false)
    {
        var copy = () => CopyAsync(deep, frames, hangsUp);
        return (await copy.Should().ThrowAsync<AgentException>()).Which;
    }

    private async Task CopyAsync(bool deep, byte[][] frames, bool hangsUp = true)
    {
        _ = _agent.ServeAsync([.. "OK 1\n"u8, .. FakeAgent.Hello, .. frames.SelectMany(f => f)], hangsUp ? null : FakeAgent.UntilHungUpAsync);
        using var link = await AgentLink.OpenAsync(_agent.Path, TimeSpan.Zero, TimeSpan.Zero, AgentFrame.Get, AgentProtocol.Copy("/asked", deep), default);
        using var target = HostPath.Target(_target, "/asked");
        await new TreeReceiver(link, deep).ReceiveAsync(target, default);
    }
}
