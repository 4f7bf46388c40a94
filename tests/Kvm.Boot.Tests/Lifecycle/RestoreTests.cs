using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

public class RestoreTests
{
    [SkippableTheory]
    [InlineData("soft", "soft")]
    [InlineData("kvm", "kvm")]
    [InlineData("soft", "kvm")]
    [InlineData("kvm", "soft")]
    public void Guest_goes_on_from_its_saved_count_in_another_machine(string from, string to)
    {
        if (to == "kvm")
            TinyMachine.RequireKvm();
        using var guest = new BareGuest(from, BareGuest.CountUntilTold);
        guest.Machine.Start();
        guest.WaitUntilAbove(1000);
        guest.Machine.Pause();
        uint count = guest.Read(BareGuest.Counter);
        var snapshot = guest.Machine.Save();
        snapshot.Engine.Should().Be(from);
        var before = State(guest.Machine);
        guest.Machine.Dispose();

        using var machine = Restore(guest.Config, to, snapshot, allow: from != to);
        BareGuest.Read(machine, BareGuest.Counter).Should().Be(count);
        var after = State(machine);
        after.Gpr.Should().Equal(before.Gpr);
        (after.Rip, after.Rflags, after.Cr0).Should().Be((before.Rip, before.Rflags, before.Cr0));
        machine.Start();
        BareGuest.WaitUntilAbove(machine, count);
        machine.Memory.TryWrite(BareGuest.Counter + 4, 1u).Should().BeTrue();
        machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        machine.Ended.Result.DebugExitValue.Should().Be(7);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Any_number_of_machines_goes_on_from_one_state(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        guest.Machine.Start();
        guest.WaitUntilAbove(0);
        guest.Machine.Pause();
        uint count = guest.Read(BareGuest.Counter);
        var snapshot = guest.Machine.Save();
        guest.Machine.Resume();
        guest.WaitUntilAbove(count);
        for (int i = 0; i < 3; i++)
        {
            using var machine = Restore(guest.Config, engine, snapshot);
            machine.Pause();
            machine.Start();
            BareGuest.Read(machine, BareGuest.Counter).Should().Be(count, "it was paused before its start");
            machine.Resume();
            BareGuest.WaitUntilAbove(machine, count);
        }
    }

    [SkippableFact]
    public void Extended_state_and_registers_of_the_system_survive()
    {
        using var guest = new BareGuest("soft", a =>
        {
            a.mov(eax, cr4);
            a.or(eax, 0x600); // OSFXSR, OSXMMEXCPT
            a.mov(cr4, eax);
            a.fninit();
            a.fldpi();
            a.mov(eax, 0x1234_5678);
            a.movd(xmm5, eax);
            a.mov(ecx, 0xc000_0103);
            a.xor(edx, edx);
            a.mov(eax, 77);
            a.wrmsr();
            BareGuest.Count(a);
        }, c => c with { Cpus = 2 });
        guest.Machine.Start();
        guest.WaitUntilAbove(0);
        guest.Machine.Pause();
        var snapshot = guest.Machine.Save();
        ArchitecturalState before = State(guest.Machine), other = State(guest.Machine, 1);
        using var machine = Restore(guest.Config, "soft", snapshot);
        ArchitecturalState after = State(machine), otherAfter = State(machine, 1);
        after.Should().BeEquivalentTo(before);
        otherAfter.Should().BeEquivalentTo(other);
        after.Msr.TscAux.Should().Be(77);
        machine.Pause();
        Texts(machine.Save()).Should().Equal(Texts(snapshot), "what was restored is what was saved");

        // The 8254's counts start anew, as they do on KVM, the generation id's event waits in the ACPI block, and the RTC goes by the host's wall clock.
        static IEnumerable<string> Texts(MachineSnapshot saved) => saved.Records.Where(r => r.Name is not ("chips" or "acpi-pm" or "rtc")).Select(r => $"{r.Name} {Convert.ToHexString(r.Bytes.Span)}");
    }

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, 1, DiskAio.Threads)]
    [InlineData(VirtioTransport.Mmio, 2, DiskAio.Threads)]
    [InlineData(VirtioTransport.Pci, 2, DiskAio.Uring)]
    public void Linux_that_writes_a_disk_goes_on_in_another_machine(VirtioTransport transport, int cpus, DiskAio aio)
    {
        using var disk = new Ext4Disk();
        var config = LinuxConfig("disk") with
        {
            Virtio = transport,
            Cpus = cpus,
            Disks = [new DiskConfig { Path = disk.FilePath, Aio = aio }],
            Entropy = true,
            InlineQueues = false,
        };
        var (text, result) = RunInPieces(config, ["GUEST-UP", "from-host: OK"], 3);
        result.Outcome.Should().Be(VmOutcome.PowerOff, text);
        text.Should().NotContain("GUEST-FAILED").And.Contain("GUEST-DONE");
        disk.ShouldBeWhole();
    }

    [SkippableFact]
    public void Linux_computes_on_what_it_began_in_another_machine()
    {
        var (text, result) = RunInPieces(LinuxConfig("compute") with { Cpus = 2 }, ["GUEST-UP", "  -\r\n", "gzip ok"], 5);
        result.Outcome.Should().Be(VmOutcome.PowerOff, text);
        var whole = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "compute", TimeSpan.FromMinutes(3));
        Lines(text).Should().Equal(Lines(whole.Console));

        static IEnumerable<string> Lines(string console) => console[console.IndexOf("GUEST-UP", StringComparison.Ordinal)..].Split('\n').Where(line => !line.Contains('[')).Select(line => line.Trim());
    }

    [SkippableFact]
    public void Linux_makes_its_random_numbers_anew_in_another_machine()
    {
        var config = LinuxConfig("compute");
        var (text, result) = RunInPieces(config with { Append = config.Append + " ignore_loglevel random.trust_cpu=on", Entropy = true }, ["gzip ok"], 1);
        result.Outcome.Should().Be(VmOutcome.PowerOff, text);
        text[text.IndexOf("gzip ok", StringComparison.Ordinal)..].Should().Contain("due to virtual machine fork", "its generation id has changed");
    }

    [Fact]
    public void Machine_that_runs_is_not_saved_and_a_deterministic_one_never()
    {
        using var guest = new BareGuest("soft", BareGuest.Count);
        guest.Machine.Invoking(m => m.Save()).Should().Throw<InvalidOperationException>();
        using var deterministic = new BareGuest("deterministic", BareGuest.Count);
        deterministic.Machine.Pause();
        deterministic.Machine.Invoking(m => m.Save()).Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.NotSaved);
    }

    [Fact]
    public void Machine_that_is_another_one_is_refused_with_all_that_is_lacking()
    {
        using var guest = new BareGuest("soft", BareGuest.Count, c => c with { Entropy = true });
        guest.Machine.Pause();
        var snapshot = guest.Machine.Save();
        var config = guest.Config with { MemoryBytes = 32 << 20, Cpus = 2, Virtio = VirtioTransport.Mmio };
        Refusal(config, snapshot).Should().Contain("1 vCPUs, not 2").And.Contain("16 MiB of memory, not 32").And.Contain("virtio over Pci, not Mmio");
        Refusal(guest.Config with { Entropy = false }, snapshot).Should().Contain("a device for the state of rng0");
        Refusal(guest.Config with { Console = GuestConsole.Virtio }, snapshot).Should().Contain("the state of console0");
    }

    [SkippableFact]
    public void Processor_without_what_the_guest_has_seen_is_refused_by_its_bits()
    {
        using var guest = new BareGuest("soft", BareGuest.Count, c => c with { Cpu = CpuModel.V3 });
        guest.Machine.Pause();
        var snapshot = guest.Machine.Save();
        Refusal(guest.Config with { Cpu = CpuModel.V2 }, snapshot).Should().Contain("CPUID leaf 1.0 ECX bits 30001000").And.Contain("CPUID leaf 7.0 EBX bits 00000020");
        using var allowed = VirtualMachine.Restore(guest.Config with { Cpu = CpuModel.V2 }, new VmHost(), snapshot, new RestoreOptions { AllowDifferences = true });
        // The other way round the guest sees the processor it saw before.
        using var small = new BareGuest("soft", a =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(eax, 1);
            a.cpuid();
            a.mov(__dword_ptr[BareGuest.Counter + 8], ecx);
            a.inc(__dword_ptr[BareGuest.Counter]);
            a.jmp(again);
        });
        small.Machine.Pause();
        using var large = VirtualMachine.Restore(small.Config with { Cpu = CpuModel.V3 }, new VmHost(), small.Machine.Save());
        large.Start();
        BareGuest.WaitUntilAbove(large, 0);
        (BareGuest.Read(large, BareGuest.Counter + 8) & 0x3000_1000).Should().Be(0);
    }

    /// <summary>Each byte changed, each record cut anywhere: the machine is refused by an error that says so, or goes on from another state; nothing else happens.</summary>
    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Changed_and_shortened_records_are_refused_or_taken_and_nothing_else(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count, c => c with { Entropy = true, Console = GuestConsole.Virtio });
        guest.Machine.Pause();
        var snapshot = guest.Machine.Save();
        var random = new Random(20261121);
        int refused = 0, taken = 0;
        int rounds = engine == "kvm" ? 30 : 300;
        for (int i = 0; i < rounds; i++)
        {
            var records = snapshot.Records.ToArray();
            int at = random.Next(records.Length);
            byte[] bytes = records[at].Bytes.ToArray();
            if (random.Next(4) == 0)
                bytes = bytes[..random.Next(bytes.Length)];
            else
                bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            records[at] = records[at] with { Bytes = bytes };
            try
            {
                using var machine = VirtualMachine.Restore(guest.Config, new VmHost(), snapshot with { Records = records });
                taken++;
            }
            catch (VmmException e)
            {
                e.Error.Should().BeOneOf(RestoreErrors.BadState, RestoreErrors.Lacking, RestoreErrors.LaterState);
                refused++;
            }
        }

        refused.Should().BeGreaterThan(rounds / 5);
        (refused + taken).Should().Be(rounds);
    }

    [Fact]
    public void Record_of_a_later_version_and_a_record_twice_are_refused()
    {
        using var guest = new BareGuest("soft", BareGuest.Count);
        guest.Machine.Pause();
        var snapshot = guest.Machine.Save();
        foreach (var record in snapshot.Records)
        {
            SnapshotRecord[] later = [.. snapshot.Records.Select(r => r == record ? r with { Version = 99 } : r)];
            FluentActions.Invoking(() => VirtualMachine.Restore(guest.Config, new VmHost(), snapshot with { Records = later }))
                .Should().Throw<VmmException>(record.Name).Which.Error.Should().Be(RestoreErrors.LaterState);
        }

        FluentActions.Invoking(() => VirtualMachine.Restore(guest.Config, new VmHost(), snapshot with { Records = [.. snapshot.Records, snapshot.Records[0]] }))
            .Should().Throw<VmmException>().Which.Error.Should().Be(RestoreErrors.BadState);
    }

    private static string Refusal(VmConfig config, MachineSnapshot snapshot) =>
        FluentActions.Invoking(() => VirtualMachine.Restore(config, new VmHost(), snapshot)).Should().Throw<VmmException>().Where(e => e.Error == RestoreErrors.Lacking).Which.Message;

    private static VirtualMachine Restore(VmConfig config, string engine, MachineSnapshot snapshot, bool allow = false) =>
        VirtualMachine.Restore(config with { Engine = engine == "kvm" ? EngineChoice.Kvm : EngineChoice.Soft }, new VmHost(), snapshot, new RestoreOptions { AllowDifferences = allow });

    private static ArchitecturalState State(VirtualMachine machine, int vcpu = 0)
    {
        var state = new ArchitecturalState();
        machine.Vcpus[vcpu].Engine.Save(state);
        return state;
    }

    private static VmConfig LinuxConfig(string task) => new()
    {
        KernelPath = GuestFiles.Require("small/vmlinux"),
        InitrdPath = GuestFiles.Require("initramfs/initramfs.cpio"),
        Engine = EngineChoice.Soft,
        Append = $"kvmsharp.run={task}",
        Timeout = TimeSpan.FromMinutes(3),
    };

    /// <summary>Runs a guest in several machines, one after the other: each is saved when a text was printed, or at once.</summary>
    private static (string Console, RunResult Result) RunInPieces(VmConfig config, string[] texts, int most)
    {
        var console = new StringBuilder();
        var awaited = new Queue<string>(texts);
        var seen = new SemaphoreSlim(0);
        int from = 0;
        var host = new VmHost
        {
            ConsoleOutput = text =>
            {
                lock (console)
                {
                    console.Append(Encoding.Latin1.GetString(text));
                    if (awaited.Count == 0 || console.ToString(from, console.Length - from) is var rest && !rest.Contains(awaited.Peek(), StringComparison.Ordinal))
                        return;
                    awaited.Dequeue();
                    from = console.Length;
                    seen.Release();
                }
            },
        };
        var machine = VirtualMachine.Build(config, host);
        try
        {
            for (int piece = 0; piece < most; piece++)
            {
                machine.Start();
                if (piece < texts.Length)
                    seen.Wait(TimeSpan.FromMinutes(2)).Should().BeTrue("the guest prints what is waited for");
                machine.Pause();
                var snapshot = machine.Save();
                machine.Dispose();
                machine = VirtualMachine.Restore(config, host, snapshot);
            }

            machine.Start();
            var result = machine.Ended.GetAwaiter().GetResult();
            lock (console)
                return (console.ToString(), result);
        }
        finally
        {
            machine.Dispose();
        }
    }
}
