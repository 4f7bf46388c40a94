using Kvm.Cli.Tests;
using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Tests;

/// <summary>State and runtime folders in which there is what nobody of ours put there.</summary>
public sealed class HostileFolderTests : IDisposable
{
    private readonly TemporaryState _state = new();

    private VmStore Store => _state.Manager.Store;

    public void Dispose() => _state.Dispose();

    [Fact]
    public void A_record_cut_anywhere_is_said_of_its_machine_alone()
    {
        foreach (string name in (string[])["a", "b", "c"])
            _state.Manager.Create(TemporaryState.Machine(name));
        string path = Path.Combine(Store.FolderOf("b"), "vcb.json");
        byte[] whole = File.ReadAllBytes(path);
        // Without its last byte, the line's end, it is still whole.
        for (int length = 0; length < whole.Length - 1; length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            _state.Manager.List().Select(entry => $"{entry.Name} {entry.Record?.State} {entry.Problem?.Error.Id}").Should().Equal("a Created ", "b  KVM0604", "c Created ");
        }

        Refused(() => _state.Manager.Start("b"), "KVM0604");
        _state.Manager.Remove("a");
        File.WriteAllBytes(path, whole);
        _state.Manager.Get("b").State.Should().Be(VmState.Created);
    }

    [Fact]
    public void A_folder_that_is_a_link_is_said_damaged_and_where_it_leads_is_left_alone()
    {
        _state.Manager.Create(TemporaryState.Machine("web"));
        string elsewhere = Path.Combine(Path.GetDirectoryName(_state.Options.StateFolder)!, "elsewhere");
        Directory.Move(Store.FolderOf("web"), elsewhere);
        Directory.CreateSymbolicLink(Store.FolderOf("web"), elsewhere);
        byte[] record = File.ReadAllBytes(Path.Combine(elsewhere, "vcb.json"));
        _state.Manager.List().Should().ContainSingle().Which.Problem!.Message.Should().Contain("a folder that is a link");
        foreach (Action act in (Action[])[() => _state.Manager.Get("web"), () => _state.Manager.Start("web"), () => _state.Manager.Remove("web"), () => _state.Manager.Create(TemporaryState.Machine("web"))])
            FluentActions.Invoking(act).Should().Throw<VmmException>().Which.Error.Id.Should().BeOneOf("KVM0603", "KVM0604");
        _state.Manager.Remove("web", force: true);
        _state.Manager.List().Should().BeEmpty();
        Directory.GetFileSystemEntries(elsewhere).Should().ContainSingle();
        File.ReadAllBytes(Path.Combine(elsewhere, "vcb.json")).Should().Equal(record);
    }

    [Theory]
    [InlineData("link")]
    [InlineData("pipe")]
    [InlineData("folder")]
    public void A_record_that_is_no_file_is_said_damaged_at_once(string kind)
    {
        foreach (string name in (string[])["a", "b"])
            _state.Manager.Create(TemporaryState.Machine(name));
        string path = Path.Combine(Store.FolderOf("b"), "vcb.json"), victim = Path.Combine(_state.Options.StateFolder, "victim");
        File.Move(path, victim);
        Make(kind, path, victim);
        var entries = _state.Manager.List();
        entries.Select(entry => entry.Record?.Name).Should().Equal("a", null);
        entries[1].Problem!.Message.Should().Contain("is no regular file");
        File.Exists(victim).Should().BeTrue();
    }

    [Fact]
    public void A_link_where_a_record_is_written_is_not_followed()
    {
        var record = _state.Manager.Create(TemporaryState.Machine("web"));
        string victim = Path.Combine(_state.Options.StateFolder, "victim");
        File.WriteAllText(victim, "untouched");
        File.CreateSymbolicLink(Path.Combine(Store.FolderOf("web"), "vcb.json" + DurableFile.Unfinished), victim);
        Store.Write(record with { Generation = 5 });
        _state.Manager.Get("web").Generation.Should().Be(5);
        File.ReadAllText(victim).Should().Be("untouched");
    }

    [Fact]
    public void Folders_of_other_names_are_no_machines_and_nobody_is_led_to_them()
    {
        _state.Manager.Create(TemporaryState.Machine("web"));
        foreach (string name in (string[])["w\u0435bs", "webs\u001b[2J", ".webs"])
        {
            Directory.CreateDirectory(Path.Combine(Store.Folder, name));
            File.Copy(Path.Combine(Store.FolderOf("web"), "vcb.json"), Path.Combine(Store.Folder, name, "vcb.json"));
        }

        _state.Manager.List().Should().ContainSingle().Which.Name.Should().Be("web");
        FluentActions.Invoking(() => _state.Manager.Get("webs")).Should().Throw<VmmException>().WithMessage("*did you mean web?*");
    }

    [SkippableFact]
    public void A_link_where_a_control_socket_should_be_is_left_alone_and_so_is_where_it_leads()
    {
        Published.Require();
        string sockets = Path.Combine(_state.Options.RuntimeFolder, "vms"), victim = Path.Combine(_state.Options.StateFolder, "victim"), link = Path.Combine(sockets, "web.sock");
        _state.Manager.Create(TemporaryState.Machine("web", Guests.Loop));
        File.WriteAllText(victim, "untouched");
        Directory.CreateDirectory(sockets, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.CreateSymbolicLink(link, victim);
        Refused(() => _state.Manager.Start("web"), "KVM0608");
        File.ReadAllText(victim).Should().Be("untouched");
        new FileInfo(link).LinkTarget.Should().Be(victim);
        File.Delete(link);
        _state.Manager.Start("web").State.Should().Be(VmState.Running);
        _state.Manager.Kill("web");
    }

    private static void Make(string kind, string path, string target)
    {
        switch (kind)
        {
            case "link":
                File.CreateSymbolicLink(path, target);
                break;
            case "folder":
                Directory.CreateDirectory(path);
                break;
            default:
                Published.Shell($"mkfifo '{path}'").ExitCode.Should().Be(0);
                break;
        }
    }

    private static void Refused(Action act, string id) => FluentActions.Invoking(act).Should().Throw<VmmException>().Which.Error.Id.Should().Be(id);
}
