using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

public sealed class StoredSnapshotTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-snapshots").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private SnapshotStore Store => SnapshotStore.Open(Path.Combine(_folder, "store"));

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Running_guest_goes_on_from_full_and_incremental_snapshots(string engine)
    {
        using var guest = new BareGuest(engine, CountOverPages);
        var machine = guest.Machine;
        machine.Start();
        guest.WaitUntilAbove(1000);
        var options = new SnapshotTakeOptions { Incremental = true };
        List<(SnapshotTaken Taken, uint Least, uint Most)> taken = [];
        foreach (string name in (ReadOnlySpan<string>)["one", "two", "three"])
        {
            uint least = guest.Read(BareGuest.Counter);
            var one = machine.TakeSnapshot(Store, name, options);
            taken.Add((one, least, guest.Read(BareGuest.Counter)));
            guest.WaitUntilAbove(taken[^1].Most);
        }

        taken.Select(t => t.Taken.Parent).Should().Equal(null, "one", "two");
        machine.IsPaused.Should().BeFalse();
        machine.Dispose();
        foreach (var (one, least, most) in taken)
        {
            using var reader = Store.Read(one.Name);
            reader.Identity.Should().Be(one.Identity);
            using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, new VmHost(), reader);
            uint count = BareGuest.Read(restored, BareGuest.Counter);
            count.Should().BeInRange(least, most);
            // One moment, not several: each page holds the count it was given, the last is the newest.
            for (uint page = 0; page < Pages; page++)
                BareGuest.Read(restored, Target + (page << 12)).Should().BeOneOf(Written(count, page), Written(count + 1, page));
            restored.Start();
            BareGuest.WaitUntilAbove(restored, count);
        }
    }

    [SkippableFact]
    public void Paused_guest_stays_paused_and_its_snapshot_is_what_it_is()
    {
        using var guest = new BareGuest("soft", CountOverPages);
        guest.Machine.Start();
        guest.WaitUntilAbove(100);
        guest.Machine.Pause();
        // Each has a generation id of its own.
        guest.Machine.Memory.TryWrite(MachineLayout.GenerationId, new byte[16]).Should().BeTrue();
        string hash = MemoryHash.Of(guest.Machine.Memory);
        guest.Machine.TakeSnapshot(Store, "paused", new SnapshotTakeOptions { Note = "by hand", Compression = SnapshotCompression.Zstd });
        guest.Machine.IsPaused.Should().BeTrue();
        using var reader = Store.Read("paused");
        (reader.Content.Note, reader.Content.Engine).Should().Be(("by hand", "soft"));
        using var restored = VirtualMachine.Restore(guest.Config, new VmHost(), reader);
        byte[] generation = new byte[16];
        restored.Memory.TryRead(MachineLayout.GenerationId, generation).Should().BeTrue();
        generation.Should().NotEqual(new byte[16]);
        restored.Memory.TryWrite(MachineLayout.GenerationId, new byte[16]).Should().BeTrue();
        MemoryHash.Of(restored.Memory).Should().Be(hash);
        guest.Machine.Resume();
        guest.WaitUntilAbove(guest.Read(BareGuest.Counter));
    }

    [SkippableFact]
    public void Linux_that_writes_a_disk_goes_on_from_a_snapshot_of_that_moment_only()
    {
        using var disk = new Ext4Disk();
        var text = new StringBuilder();
        var seen = new ManualResetEventSlim();
        var config = new VmConfig
        {
            KernelPath = GuestFiles.Require("small/vmlinux"),
            InitrdPath = GuestFiles.Require("initramfs/initramfs.cpio"),
            Engine = EngineChoice.Soft,
            Append = "kvmsharp.run=disk",
            Timeout = TimeSpan.FromMinutes(3),
            Disks = [new DiskConfig { Path = disk.FilePath }],
            Entropy = true,
        };
        var host = new VmHost
        {
            ConsoleOutput = bytes =>
            {
                lock (text)
                {
                    text.Append(Encoding.Latin1.GetString(bytes));
                    if (text.ToString().Contains("from-host: OK", StringComparison.Ordinal))
                        seen.Set();
                }
            },
        };
        using (var machine = VirtualMachine.Build(config, host))
        {
            machine.Start();
            seen.Wait(TimeSpan.FromMinutes(2)).Should().BeTrue();
            machine.Pause();
            machine.TakeSnapshot(Store, "writing").Downtime.Should().BePositive();
        }

        using var reader = Store.Read("writing");
        using (var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, host, reader))
        {
            restored.Start();
            restored.Ended.GetAwaiter().GetResult().Outcome.Should().Be(VmOutcome.PowerOff);
        }

        lock (text)
            text.ToString().Should().Contain("GUEST-DONE").And.NotContain("GUEST-FAILED");
        disk.ShouldBeWhole();
        FluentActions.Invoking(() => VirtualMachine.Restore(config, host, reader)).Should().Throw<VmmException>()
            .Where(e => e.Error == RestoreErrors.Lacking && e.Message.Contains("generation"), "its disk has moved on");
    }

    [SkippableFact]
    public void Guest_takes_a_snapshot_of_itself_when_its_socket_is_asked()
    {
        using var guest = new BareGuest("soft", CountOverPages, c => c with { Name = "tiny" });
        guest.Machine.Start();
        guest.WaitUntilAbove(100);
        using var server = ControlServer.TryOpen(guest.Machine, _folder, out string? why);
        why.Should().BeNull();
        string folder = Path.Combine(_folder, "a store");
        foreach (string name in (ReadOnlySpan<string>)["one", "two"])
        {
            var answer = Ask($"snapshot {name} increment Zstd {folder}");
            answer.GetProperty("name").GetString().Should().Be(name);
            answer.GetProperty("parent").GetString().Should().Be(name == "two" ? "one" : null);
            answer.GetProperty("downtimeMs").GetDouble().Should().BePositive();
        }

        FluentActions.Invoking(() => Ask($"snapshot two increment Zstd {folder}")).Should().Throw<VmmException>().WithMessage("*two*");
        foreach (string wrong in (ReadOnlySpan<string>)["snapshot", "snapshot one all Lz4", "snapshot one some Lz4 /tmp", "snapshot one all Best /tmp", "snapshot one all 77 /tmp", "snapshot one all Lz4 not/absolute", "snapshot one all Lz4 key=AAAA /tmp", "snapshot one all Lz4 key=AAAA", "backup one all Lz4 /tmp", "backup one disks Lz4"])
            FluentActions.Invoking(() => Ask(wrong)).Should().Throw<VmmException>().WithMessage("* NAME *");
        using var reader = SnapshotStore.Open(folder).Read("two");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, new VmHost(), reader);
        uint count = BareGuest.Read(restored, BareGuest.Counter);
        restored.Start();
        BareGuest.WaitUntilAbove(restored, count);

        System.Text.Json.JsonElement Ask(string request)
        {
            using var client = ControlClient.Connect(_folder, "tiny");
            return client.AskOnce(request)!.Value;
        }
    }

    [SkippableFact]
    public void Name_that_is_taken_and_a_machine_that_ended_leave_nothing_behind()
    {
        using var guest = new BareGuest("soft", BareGuest.CountUntilTold);
        guest.Machine.Start();
        guest.WaitUntilAbove(0);
        guest.Machine.TakeSnapshot(Store, "one");
        guest.Machine.Invoking(m => m.TakeSnapshot(Store, "one")).Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Exists);
        uint count = guest.Read(BareGuest.Counter);
        guest.WaitUntilAbove(count);
        guest.Machine.Stop(VmOutcome.StoppedByUser);
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.Invoking(m => m.TakeSnapshot(Store, "two")).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NotSaved);
        Directory.GetFiles(Path.Combine(_folder, "store"), "*.snapshot").Should().ContainSingle();
    }

    private const uint Target = 0x40_0000, Pages = 200;

    /// <summary>Counts, and writes each number into the next of many pages.</summary>
    private static void CountOverPages(Iced.Intel.Assembler a)
    {
        var again = a.CreateLabel();
        var start = a.CreateLabel();
        a.mov(ebx, 0);
        a.Label(ref start);
        a.mov(edi, Target);
        a.mov(ecx, Pages);
        a.Label(ref again);
        a.inc(ebx);
        a.mov(__dword_ptr[edi], ebx);
        a.mov(__dword_ptr[BareGuest.Counter], ebx);
        a.add(edi, 0x1000);
        a.dec(ecx);
        a.jne(again);
        a.jmp(start);
    }

    /// <summary>The last number up to <paramref name="count"/> that was written to a page.</summary>
    private static uint Written(uint count, uint page)
    {
        uint last = count - 1 - ((count - 1) % Pages) + page + 1;
        return last <= count ? last : last > Pages ? last - Pages : 0;
    }
}
