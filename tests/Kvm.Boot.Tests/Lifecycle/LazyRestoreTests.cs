using Kvm.Devices.Block;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Lazy;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

/// <summary>Machines whose memory comes when it is touched.</summary>
public sealed class LazyRestoreTests : IDisposable
{
    private const uint Target = 0x40_0000, Pages = 200;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-lazy").FullName;
    private readonly List<string> _notices = [];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private SnapshotStore Store => SnapshotStore.Open(Path.Combine(_folder, "store"));

    private VmHost Host => new() { Notice = _notices.Add };

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Guest_goes_on_from_pages_that_come_when_they_are_touched(string engine)
    {
        string program = RequireProgram();
        uint count = Save(engine);
        using var reader = Store.Read("one");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, Host, reader, new RestoreOptions { Pager = program });
        _notices.Should().BeEmpty();
        BareGuest.Read(restored, BareGuest.Counter).Should().Be(count);
        for (uint page = 0; page < Pages; page++)
            BareGuest.Read(restored, Target + (page << 12)).Should().Be(page + 1);
        restored.Start();
        BareGuest.WaitUntilAbove(restored, count + 1000);
        restored.Stop(VmOutcome.StoppedByUser);
        Ended(restored).Outcome.Should().Be(VmOutcome.StoppedByUser);
    }

    [SkippableFact]
    public void Damaged_chunk_ends_the_guest_and_is_said()
    {
        string program = RequireProgram();
        Save("soft");
        string pack = Directory.GetFiles(Path.Combine(_folder, "store", "packs")).Single();
        byte[] bytes = File.ReadAllBytes(pack);
        // The chunks begin behind the head; the index, which is read when it is opened, is at the end.
        for (int i = 96; i < bytes.Length / 2; i += 64)
            bytes[i] ^= 0x55;
        File.WriteAllBytes(pack, bytes);
        using var reader = Store.Read("one");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, Host, reader, new RestoreOptions { Pager = program });
        restored.Start();
        var result = Ended(restored);
        result.Outcome.Should().Be(VmOutcome.Error);
        result.Explanation.Should().Contain("not the bytes that were saved");
    }

    [SkippableTheory]
    [InlineData("kill -9 $$")]
    [InlineData("head -c 4 <&3 >/dev/null; kill -9 $$")]
    [InlineData("exit 0")]
    public void Pager_that_is_killed_ends_the_guest_and_is_said(string script)
    {
        RequireProgram();
        Save("soft");
        using var reader = Store.Read("one");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, Host, reader, new RestoreOptions { Pager = Script(script), AllowDifferences = true });
        restored.Start();
        var result = Ended(restored);
        result.Outcome.Should().Be(VmOutcome.Error);
        result.Explanation.Should().Contain("has ended");
    }

    [SkippableFact]
    public void Pager_that_cannot_be_started_is_done_without_and_said()
    {
        uint count = Save("soft");
        using var reader = Store.Read("one");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, Host, reader, new RestoreOptions { Pager = Path.Combine(_folder, "nothing") });
        _notices.Should().ContainSingle().Which.Should().StartWith("all memory is read before the guest goes on: ");
        BareGuest.Read(restored, BareGuest.Counter).Should().Be(count);
    }

    [SkippableFact]
    public void Memory_that_others_share_is_read_at_once_and_that_is_said()
    {
        string program = RequireProgram();
        uint count = Save("soft");
        using var reader = Store.Read("one");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine with { SharedMemory = true }, Host, reader, new RestoreOptions { Pager = program });
        _notices.Should().ContainSingle().Which.Should().Contain("other processes share it");
        BareGuest.Read(restored, BareGuest.Counter).Should().Be(count);
    }

    [SkippableFact]
    public void Snapshot_that_was_replaced_is_not_mistaken_for_the_one_that_was_opened()
    {
        string program = RequireProgram();
        Save("soft");
        using var reader = Store.Read("one");
        Store.Remove(["one"]);
        Save("soft");
        using var restored = VirtualMachine.Restore(VirtualMachine.ConfigOf(reader).Machine, Host, reader, new RestoreOptions { Pager = program });
        restored.Start();
        var result = Ended(restored);
        result.Outcome.Should().Be(VmOutcome.Error);
        result.Explanation.Should().Contain("another snapshot now");
    }

    [SkippableTheory]
    [InlineData(DiskAio.Threads)]
    [InlineData(DiskAio.Uring)]
    public void Disk_write_that_waits_for_a_page_when_the_pager_is_killed_fails_and_leaves_the_disk_as_it_was(DiskAio aio)
    {
        RequireProgram();
        Save("soft");
        // From outside: this process may not get to it, while one of its threads waits for a page.
        string killed = Script($"for i in $(seq 200); do grep -qs handle_userfault /proc/{Environment.ProcessId}/task/*/wchan && break; sleep 0.05; done; kill -9 $$");
        using var ram = Memory();
        using var reader = Store.Read("one");
        using var paged = PagedMemory.TryBegin(killed, reader, ram, out string? why);
        why.Should().BeNull();
        using var file = Disk(aio, paged!);
        Write(file, aio, ram).Should().Be(new HostFileResult(0, HostFileError.Failed));
        (file.Flush(), file.Discard(0, 4096), file.WriteZeroes(0, 4096)).Should().Be((HostFileError.Failed, HostFileError.Failed, HostFileError.Failed));
        paged!.IsComplete.Should().BeFalse();
        File.ReadAllBytes(DiskPath).Should().Equal(Enumerable.Repeat((byte)0xaa, DiskBytes));
    }

    [SkippableTheory]
    [InlineData(DiskAio.Threads)]
    [InlineData(DiskAio.Uring)]
    public void Disk_write_from_pages_that_are_not_there_yet_writes_what_was_saved(DiskAio aio)
    {
        string program = RequireProgram();
        Save("soft");
        using var ram = Memory();
        using var reader = Store.Read("one");
        using var paged = PagedMemory.TryBegin(program, reader, ram, out string? why);
        why.Should().BeNull();
        using var file = Disk(aio, paged!);
        Write(file, aio, ram).Should().Be(new HostFileResult(DiskBytes));
        file.Flush().Should().Be(HostFileError.None);
        byte[] written = File.ReadAllBytes(DiskPath);
        (BitConverter.ToUInt32(written), BitConverter.ToUInt32(written, 4096)).Should().Be((1, 2));
    }

    private const int DiskBytes = 8192;

    private string DiskPath => Path.Combine(_folder, "disk");

    private static RamMapping Memory() => new(new MachineLayout(16 << 20), new VmConfig { KernelPath = "none", MemoryBytes = 16 << 20 });

    private HostFile Disk(DiskAio aio, PagedMemory pages)
    {
        File.WriteAllBytes(DiskPath, [.. Enumerable.Repeat((byte)0xaa, DiskBytes)]);
        var file = HostFile.Open(new DiskConfig { Path = DiskPath, Aio = aio });
        file.Pages = pages;
        return file;
    }

    private static HostFileResult Write(HostFile file, DiskAio aio, RamMapping ram)
    {
        ram.Memory.TryBuffer(Target, DiskBytes, writable: false, out var buffer).Should().BeTrue();
        if (aio == DiskAio.Threads)
            return file.WriteAt(0, [buffer]);
        var queues = file.OpenQueues(1, 1);
        Skip.If(queues.Count == 0, $"this host has no io_uring: {file.QueueProblem}");
        using var queue = queues[0];
        queue.Write(0, 0, [buffer]);
        queue.Submit();
        queue.Wait();
        queue.TryTake(out var ended).Should().BeTrue();
        return ended.Result;
    }

    private static RunResult Ended(VirtualMachine machine)
    {
        machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue("the guest is ended");
        return machine.Ended.Result;
    }

    private static string RequireProgram()
    {
        string program = GuestFiles.RequireSource("artifacts/kvmsharp/kvmsharp");
        Skip.IfNot(File.Exists(program), "the program was not published: scripts/build");
        int error = Kvm.Interop.UserFault.TryCreate(out var faults);
        faults?.Dispose();
        Skip.If(error != 0, "this host does not permit userfaultfd");
        return program;
    }

    private string Script(string text)
    {
        string path = Path.Combine(_folder, $"{Guid.NewGuid():n}");
        File.WriteAllText(path, $"#!/bin/sh\n{text}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }

    /// <summary>A guest that has written a number to each of many pages and counts now; what it had counted to.</summary>
    private uint Save(string engine)
    {
        using var guest = new BareGuest(engine, WritePagesAndCount);
        guest.Machine.Start();
        guest.WaitUntilAbove(100);
        guest.Machine.Pause();
        uint count = guest.Read(BareGuest.Counter);
        guest.Machine.TakeSnapshot(Store, "one");
        return count;
    }

    private static void WritePagesAndCount(Iced.Intel.Assembler a)
    {
        var pages = a.CreateLabel();
        a.mov(edi, Target);
        a.mov(ecx, 1);
        a.Label(ref pages);
        a.mov(__dword_ptr[edi], ecx);
        a.add(edi, 0x1000);
        a.inc(ecx);
        a.cmp(ecx, Pages);
        a.jbe(pages);
        BareGuest.Count(a);
    }

}
