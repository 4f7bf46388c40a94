using System.Text;
using Kvm.Manager.Cloning;
using Kvm.Vmm;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Manager.Tests;

public sealed class VmRecordTests : IDisposable
{
    private readonly TemporaryState _state = new();

    private static VmRecord Full => TemporaryState.Record("web") with
    {
        Generation = 7,
        State = VmState.Stopping,
        Since = new DateTimeOffset(2026, 3, 4, 5, 6, 7, 89, TimeSpan.Zero),
        Worker = new HostProcess(1234, 5678),
        Supervisor = new HostProcess(1233, 5670),
        BootId = "b",
        Ending = EndRequest.StopTimeout,
        Restart = new RestartPolicy(RestartWhen.OnFailure, 3),
        Shared = true,
        Restarts = 2,
        Failures = 1,
        RestartAt = DateTimeOffset.UnixEpoch,
        End = new VmEnd("panic", 10, "guest", DateTimeOffset.UnixEpoch) { Explanation = "why", ErrorId = "KVM0300" },
        Usage = new VmUsage(1.5, 0.5, 4096, 8192),
        Confinement = ["seccomp"],
        Parents = ["p"],
        Origin = new VmOrigin("t", "i", [new CloneChange("net0", "", "52:54:00:00:00:01")]),
        Children = ["c", "d"],
    };

    public void Dispose() => _state.Dispose();

    [Fact]
    public void What_a_machine_is_made_from_knows_it_until_it_is_removed()
    {
        var manager = _state.Manager;
        var parent = manager.Create(TemporaryState.Machine("parent"));
        var child = manager.Create(TemporaryState.Machine("child"), new CreateOptions { Parents = [parent.Id, "a snapshot"] });
        var other = manager.Create(TemporaryState.Machine("other"), new CreateOptions { Parents = [parent.Id] });
        child.Parents.Should().Equal(parent.Id, "a snapshot");
        manager.Get("parent").Children.Should().Equal(child.Id, other.Id);
        manager.Remove("child");
        manager.Get("parent").Children.Should().Equal(other.Id);
        manager.Remove("parent");
        manager.Remove("other");
        manager.List().Should().BeEmpty();
    }

    [Fact]
    public void A_record_is_read_as_it_was_written()
    {
        foreach (var record in (VmRecord[])[Full, TemporaryState.Record("web")])
            VmRecordJson.Parse(VmRecordJson.ToBytes(record), "web").Should().BeEquivalentTo(record);
    }

    [Fact]
    public void Every_beginning_of_a_record_is_an_explained_error()
    {
        var bytes = VmRecordJson.ToBytes(Full);
        for (int length = 0; length < bytes.Length - 1; length++)
        {
            var error = FluentActions.Invoking(() => VmRecordJson.Parse(bytes[..length], "web")).Should().Throw<VmmException>().Which;
            error.Error.Id.Should().Be("KVM0604");
            error.Message.Should().StartWith("the record of web ");
        }
    }

    [Fact]
    public void Every_member_that_is_missing_or_of_another_kind_is_an_explained_error()
    {
        string text = Encoding.UTF8.GetString(VmRecordJson.ToBytes(Full).Span);
        foreach (string member in (string[])["\"id\"", "\"state\"", "\"worker\"", "\"startTime\"", "\"restart\"", "\"failures\"", "\"how\"", "\"cpuMs\"", "\"config\""])
        {
            Refuses(text.Replace(member, "\"x\"", StringComparison.Ordinal));
            Refuses(text.Replace(member + ":", member + ":true,\"x\":", StringComparison.Ordinal), unless: member == "\"config\"");
        }

        Refuses(text.Replace("\"stopping\"", "\"dancing\"", StringComparison.Ordinal));

        static void Refuses(string text, bool unless = false)
        {
            if (!unless)
                FluentActions.Invoking(() => VmRecordJson.Parse(Encoding.UTF8.GetBytes(text), "web")).Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0604");
        }
    }

    [Fact]
    public void A_record_of_a_later_version_says_so()
    {
        byte[] later = Encoding.UTF8.GetBytes("{\"version\":2,\"what\":\"is new\"}");
        FluentActions.Invoking(() => VmRecordJson.Parse(later, "web")).Should().Throw<VmmException>().WithMessage("*version 2*up to 1*");
    }

    [Fact]
    public void Ten_thousand_levels_are_an_explained_error()
    {
        byte[] deep = Encoding.UTF8.GetBytes("{\"version\":" + new string('[', 10_000));
        FluentActions.Invoking(() => VmRecordJson.Parse(deep, "web")).Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0604");
    }

    [Fact]
    public void One_that_cannot_be_read_hides_no_other_and_can_be_removed()
    {
        var manager = _state.Manager;
        foreach (string name in (string[])["a", "b", "c"])
            manager.Create(TemporaryState.Machine(name));
        File.WriteAllText(Path.Combine(manager.Store.FolderOf("b"), "vcb.json"), "{\"version\":1,");
        var entries = manager.List();
        entries.Select(entry => entry.Name).Should().Equal("a", "b", "c");
        entries[1].Problem!.Error.Id.Should().Be("KVM0604");
        entries.Select(entry => entry.Record?.Name).Should().Equal("a", null, "c");
        FluentActions.Invoking(() => manager.Remove("b")).Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0604");
        manager.Remove("b", force: true);
        manager.List().Select(entry => entry.Name).Should().Equal("a", "c");
    }

    [Fact]
    public void A_name_that_is_not_there_brings_the_nearest_one()
    {
        _state.Manager.Create(TemporaryState.Machine("database"));
        FluentActions.Invoking(() => _state.Manager.Get("databse")).Should().Throw<VmmException>().WithMessage("*did you mean database?*");
        FluentActions.Invoking(() => _state.Manager.Create(TemporaryState.Machine("database"))).Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0603");
    }

    [Fact]
    public void What_somebody_left_who_was_killed_while_making_one_is_no_machine_and_in_nobodys_way()
    {
        var store = _state.Manager.Store;
        Directory.CreateDirectory(store.FolderOf("web"));
        File.WriteAllText(Path.Combine(store.FolderOf("web"), "vcb.json.new"), "{\"ver");
        _state.Manager.List().Should().BeEmpty();
        FluentActions.Invoking(() => _state.Manager.Get("web")).Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0600");
        _state.Manager.Create(TemporaryState.Machine("web")).State.Should().Be(VmState.Created);
    }

    [Fact]
    public void Two_that_make_a_machine_of_one_name_at_once_make_one()
    {
        int made = 0, refused = 0;
        Parallel.For(0, 16, _ =>
        {
            try
            {
                _state.Manager.Create(TemporaryState.Machine("one"));
                Interlocked.Increment(ref made);
            }
            catch (VmmException e) when (e.Error.Id == "KVM0603")
            {
                Interlocked.Increment(ref refused);
            }
        });
        (made, refused).Should().Be((1, 15));
        _state.Manager.List().Should().ContainSingle();
    }

    [Fact]
    public void A_machine_whose_process_is_gone_is_found_crashed_by_whoever_looks()
    {
        var manager = _state.Manager;
        manager.Create(TemporaryState.Machine("web"));
        var own = HostProcess.Own;
        // This process's number, and another start time: a number that was given again is nobody.
        manager.Store.Write(manager.Get("web") with { State = VmState.Running, Worker = own with { StartTime = own.StartTime - 1 }, BootId = HostProcess.BootId });
        var found = manager.List().Single().Record!;
        found.State.Should().Be(VmState.Crashed);
        found.Worker.Should().BeNull();
        found.End!.Outcome.Should().Be("worker-died");
        manager.Store.Write(found with { State = VmState.Running, Worker = own, BootId = HostProcess.BootId });
        manager.Get("web").State.Should().Be(VmState.Running, "that process is there");
        manager.Store.Write(found with { State = VmState.Running, Worker = own, BootId = "another" });
        manager.Get("web").End!.Explanation.Should().Contain("host was started again");
    }

    [Fact]
    public void Paths_are_kept_from_the_root_on()
    {
        var settings = TemporaryState.Machine("web", "vmlinux");
        Kvm.Vmm.Storage.DiskConfig.Parse("disk.img", out var disk).Should().BeNull();
        _state.Manager.Create(settings with { Machine = settings.Machine with { InitrdPath = "initrd", Disks = [disk] } });
        var machine = _state.Manager.Get("web").Settings().Machine;
        foreach (string path in (string[])[machine.KernelPath, machine.InitrdPath!, machine.Disks[0].Path])
            Path.GetDirectoryName(path).Should().Be(Environment.CurrentDirectory);
    }

    [Fact]
    public void Numbers_by_chance_are_fixed_when_a_machine_is_made()
    {
        var settings = TemporaryState.Machine("web");
        Kvm.Vmm.Network.NetConfig.Parse("none", out var card).Should().BeNull();
        _state.Manager.Create(settings with { Machine = settings.Machine with { Networks = [card] } });
        var first = _state.Manager.Get("web").Settings().Machine.Networks[0].Mac;
        first.Should().NotBeNull();
        _state.Manager.Get("web").Settings().Machine.Networks[0].Mac.Should().Be(first);
    }
}
