using Kvm.Vmm;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Checkpoints;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;

namespace Kvm.Boot.Tests.Lifecycle;

public sealed class CheckpointTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-checkpoints").FullName;

    private static readonly CheckpointOptions s_byHand = new(TimeSpan.Zero, 64 << 20);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void A_running_guest_goes_back_to_any_moment_and_on_from_there(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        var machine = guest.Machine;
        machine.Start();
        guest.WaitUntilAbove(1000);
        machine.KeepCheckpoints(s_byHand);
        List<(long Number, uint Least, uint Most)> moments = [];
        for (int i = 0; i < 4; i++)
        {
            uint least = guest.Read(BareGuest.Counter);
            long number = machine.TakeCheckpoint().Number;
            moments.Add((number, least, guest.Read(BareGuest.Counter)));
            guest.WaitUntilAbove(moments[^1].Most + 1000);
        }

        machine.Checkpoints.Select(c => c.Number).Should().Equal([1, .. moments.Select(m => m.Number)]);
        foreach (var (number, least, most) in (ReadOnlySpan<(long, uint, uint)>)[moments[2], moments[2], moments[0]])
        {
            machine.Pause();
            machine.GoBack(number).Number.Should().Be(number);
            uint count = guest.Read(BareGuest.Counter);
            count.Should().BeInRange(least, most);
            machine.IsPaused.Should().BeTrue();
            machine.Resume();
            guest.WaitUntilAbove(count + 1000);
        }

        machine.Checkpoints.Select(c => c.Number).Should().Equal(1, moments[0].Number);
        machine.GoBack(TimeSpan.Zero).Number.Should().Be(moments[0].Number);
        machine.GoBack(TimeSpan.FromDays(1)).Number.Should().Be(1);
        FluentActions.Invoking(() => machine.GoBack(moments[3].Number)).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NoWayBack);
        uint now = guest.Read(BareGuest.Counter);
        machine.EndCheckpoints();
        machine.Checkpoints.Should().BeEmpty();
        guest.WaitUntilAbove(now);
    }

    [SkippableFact]
    public void Snapshots_based_on_one_another_miss_nothing_that_checkpoints_took()
    {
        using var guest = new BareGuest("soft", BareGuest.Count);
        var machine = guest.Machine;
        var store = SnapshotStore.Open(Path.Combine(_folder, "store"));
        var options = new SnapshotTakeOptions { Incremental = true };
        machine.Start();
        guest.WaitUntilAbove(10);
        machine.KeepCheckpoints(s_byHand);
        machine.TakeSnapshot(store, "one", options);
        for (int i = 0; i < 3; i++)
        {
            guest.WaitUntilAbove(guest.Read(BareGuest.Counter));
            machine.TakeCheckpoint();
        }

        machine.Pause();
        machine.TakeCheckpoint();
        uint count = guest.Read(BareGuest.Counter);
        machine.TakeSnapshot(store, "two", options).Parent.Should().Be("one");
        using (var reader = store.Read("two"))
        using (var restored = VirtualMachine.Restore(guest.Config, new VmHost(), reader))
            BareGuest.Read(restored, BareGuest.Counter).Should().Be(count);
        machine.EndCheckpoints();
        machine.TakeSnapshot(store, "three", options).Parent.Should().Be("two");
    }

    [SkippableFact]
    public void Moments_come_by_themselves_and_the_oldest_go()
    {
        using var guest = new BareGuest("soft", BareGuest.Count);
        guest.Machine.Start();
        guest.WaitUntilAbove(10);
        guest.Machine.KeepCheckpoints(new CheckpointOptions(TimeSpan.FromMilliseconds(20), 2 << 20));
        SpinWait.SpinUntil(() => guest.Machine.Checkpoints is [.., var last] && last.Number > 5, TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.GoBack(TimeSpan.FromDays(1));
        guest.WaitUntilAbove(guest.Read(BareGuest.Counter));
    }

    [SkippableFact]
    public void A_guest_that_can_write_a_disk_and_a_budget_too_small_are_refused_and_the_guest_runs_on()
    {
        string disk = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        using var guest = new BareGuest("soft", BareGuest.Count, c => c with { Disks = [new DiskConfig { Path = disk }] });
        guest.Machine.Invoking(m => m.KeepCheckpoints(s_byHand)).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NoWayBack);
        using var small = new BareGuest("soft", BareGuest.Count);
        small.Machine.Start();
        small.WaitUntilAbove(10);
        small.Machine.Invoking(m => m.KeepCheckpoints(s_byHand with { Budget = 4096 })).Should().Throw<VmmException>().WithMessage("*budget*");
        small.Machine.Invoking(m => m.GoBack(1)).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NoWayBack);
        small.WaitUntilAbove(small.Read(BareGuest.Counter));
    }
}
