using System.Text;
using Kvm.Devices.Block;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;

namespace Kvm.Boot.Tests;

/// <summary>Guests with a real file system on a virtio disk: what they read and write is what the host's tools find.</summary>
public class VirtioDiskTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci, DiskCache.WriteBack, true, 1, DiskAio.Threads)]
    [InlineData(VirtioTransport.Pci, DiskCache.WriteThrough, false, 2, DiskAio.Threads)]
    [InlineData(VirtioTransport.Mmio, DiskCache.WriteBack, true, 1, DiskAio.Threads)]
    [InlineData(VirtioTransport.Pci, DiskCache.WriteBack, false, 2, DiskAio.Uring)]
    public void Small_kernel_writes_ext4_and_reads_it_back(VirtioTransport transport, DiskCache cache, bool inline, int cpus, DiskAio aio)
    {
        Skip.If(aio == DiskAio.Uring && !HasUring(), "io_uring: not there or not permitted");
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath, Cache = cache, Id = "ext4-disk", Aio = aio, Queues = cpus }],
            Entropy = true,
            Virtio = transport,
            InlineQueues = inline,
            Cpus = cpus,
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
        run.Console.Should().Contain("GUEST-SERIAL ext4-disk");
        if (aio == DiskAio.Uring)
            run.Result.Devices["disk0"]["mostUnderWay"].Should().BeGreaterThan(1);
        run.Result.Devices["rng0"]["bytesGiven"].Should().BeGreaterThan(0);
    }

    [SkippableFact]
    public void Guest_without_messages_gets_its_interrupts_by_wire()
    {
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath }],
            Entropy = true,
            Append = c.Append + " pci=nomsi",
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
    }

    [SkippableTheory]
    [InlineData("", "")]
    [InlineData(" virtio_pci.force_legacy=1", "")]
    [InlineData(" virtio_pci.force_legacy=1", " pci=nomsi")]
    public void Transitional_device_is_driven_by_either_of_linux_s_drivers(string legacy, string messages)
    {
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath, Id = "old-driver" }],
            Entropy = true,
            Virtio = VirtioTransport.Transitional,
            Append = c.Append + legacy + messages,
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
        run.Console.Should().Contain($"GUEST-MODERN {(legacy.Length == 0 ? 1 : 0)}").And.Contain("GUEST-SERIAL old-driver");
        run.Result.Devices["rng0"]["bytesGiven"].Should().BeGreaterThan(0);
    }

    [SkippableTheory]
    [InlineData("", VmOutcome.PowerOff)]
    [InlineData(" acpi=off pci=off", VmOutcome.Halted)]
    public void Mmio_devices_are_found_once_with_ACPI_and_without(string append, VmOutcome end)
    {
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath }],
            Entropy = true,
            Virtio = VirtioTransport.Mmio,
            Append = c.Append + append,
        });
        // Without ACPI a guest knows no way to power off.
        ShouldBeDone(run, end);
        disk.ShouldBeWhole();
        run.Console.Should().Contain("GUEST-VIRTIO 2");
    }

    [SkippableTheory]
    [InlineData(4, 4, 4, false)]
    [InlineData(2, 4, 2, false)]
    [InlineData(2, 2, 2, true)]
    public void Guest_sees_as_many_queues_as_the_disk_and_its_processors_have(int cpus, int queues, int seen, bool threads)
    {
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath, Queues = queues }],
            Cpus = cpus,
            InlineQueues = !threads,
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
        run.Console.Should().Contain($"GUEST-QUEUES {seen}");
    }

    [SkippableTheory]
    [InlineData(VirtioTransport.Pci)]
    [InlineData(VirtioTransport.Transitional)]
    public void Small_kernel_has_its_root_on_the_disk_up_to_a_shell(VirtioTransport transport)
    {
        using var disk = new Ext4Disk(root: true);
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "root", s_limit, c => c with
        {
            InitrdPath = null,
            Disks = [new DiskConfig { Path = disk.FilePath }],
            Virtio = transport,
        }, TypeCommands);
        ShouldHaveUsedTheRoot(run, "/dev/root ext4");
        disk.ShouldBeWhole();
    }

    [SkippableFact]
    public void Stock_kernel_switches_to_its_root_on_the_disk_up_to_a_shell()
    {
        using var disk = new Ext4Disk(root: true);
        using var initrd = new ModuleInitrd("virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev",
            "virtio/virtio_pci", "block/virtio_blk");
        var run = LinuxGuest.Boot("stock/bzImage", EngineChoice.Soft, "root", s_limit, c => c with
        {
            InitrdPath = initrd.FilePath,
            MemoryBytes = 512 << 20,
            Disks = [new DiskConfig { Path = disk.FilePath }],
        }, TypeCommands);
        ShouldHaveUsedTheRoot(run, "/dev/vda ext4");
        disk.ShouldBeWhole();
    }

    /// <summary>
    /// What tests/guest/run/disk does on a disk, typed in a shell whose root it is. The first line is empty: Linux's serial driver reads, and
    /// throws away, a byte when it opens the port.
    /// </summary>
    internal static void TypeCommands(VirtualMachine vm) => vm.SendConsoleInput(Encoding.ASCII.GetBytes("""

        while read a b c d; do [ "$b" = / ] && echo "GUEST-ROOT $a $c"; done </proc/mounts
        sha256sum -c from-host.sum
        dd if=/dev/urandom of=from-guest bs=64k count=128 2>/dev/null
        sha256sum from-guest >from-guest.sum
        rm to-delete
        sync; echo 3 >/proc/sys/vm/drop_caches
        sha256sum -c from-guest.sum
        mount -o remount,ro /
        exit

        """.ReplaceLineEndings("\n"))).Should().BeGreaterThan(300);

    internal static void ShouldHaveUsedTheRoot(LinuxRun run, string root)
    {
        run.Console.Should().Contain($"GUEST-ROOT {root}", run.Tail);
        ShouldBeDone(run, task: "root");
    }

    [SkippableFact]
    public void Stock_kernel_finds_its_disk_on_pci_with_its_own_modules()
    {
        using var disk = new Ext4Disk();
        using var initrd = new ModuleInitrd("virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev",
            "virtio/virtio_pci", "block/virtio_blk");
        var run = LinuxGuest.Boot("stock/bzImage", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            InitrdPath = initrd.FilePath,
            MemoryBytes = 512 << 20,
            Disks = [new DiskConfig { Path = disk.FilePath }],
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
        run.Result.Devices["disk0"]["interrupts"].Should().BeGreaterThan(0);
    }

    [SkippableFact]
    public void Disk_for_reading_is_not_changed()
    {
        using var disk = new Ext4Disk();
        byte[] before = File.ReadAllBytes(disk.FilePath);
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "disk", s_limit, c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath, ReadOnly = true }],
        });
        run.Console.Should().Contain("from-host: OK", run.Tail).And.Contain("Read-only file system");
        File.ReadAllBytes(disk.FilePath).AsSpan().SequenceEqual(before).Should().BeTrue();
    }

    [SkippableFact]
    public void Kernel_finds_its_root_on_the_first_disk_without_being_told()
    {
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, null, s_limit, c => c with
        {
            InitrdPath = null,
            Disks = [new DiskConfig { Path = disk.FilePath }],
        });
        run.Console.Should().Contain("No working init found", "it is mounted, and has no init");
        run.Result.Outcome.Should().Be(VmOutcome.Panic, run.Tail);
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Kvm_guest_reads_its_disk_by_ioeventfd(bool irqfds)
    {
        Skip.IfNot(File.Exists("/dev/kvm"), "needs /dev/kvm");
        Skip.IfNot(GuestFiles.Full, "minutes where KVM interprets kernels: scripts/test --full");
        using var disk = new Ext4Disk();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Kvm, "disk", TimeSpan.FromMinutes(20), c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath }],
            InlineQueues = false,
            Irqfds = irqfds,
            AppendFast = true,
        });
        ShouldBeDone(run);
        disk.ShouldBeWhole();
        run.Result.Devices["disk0"]["notificationExits"].Should().Be(0);
    }

    [Fact]
    public void Disk_of_a_run_that_is_to_repeat_does_without_io_uring_and_says_so()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-disks").FullName;
        try
        {
            string File(string name, byte[] content)
            {
                string path = Path.Combine(folder, name);
                System.IO.File.WriteAllBytes(path, content);
                return path;
            }

            var notices = new List<string>();
            var config = new VmConfig
            {
                KernelPath = File("kernel", TinyKernel.Assemble(a => a.hlt())),
                MemoryBytes = 16 << 20,
                Deterministic = true,
                Disks = [new DiskConfig { Path = File("a", new byte[4096]) }, new DiskConfig { Path = File("b", new byte[4096]), Aio = DiskAio.Uring }],
            };
            VirtualMachine.Build(config, new VmHost { Notice = notices.Add }).Dispose();
            notices.Should().ContainSingle(n => n.Contains("io_uring", StringComparison.Ordinal)).Which.Should().StartWith("disk1 does without io_uring");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static bool HasUring()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[4096]);
            using var image = new RawImage(HostFile.Open(new DiskConfig { Path = path, Aio = DiskAio.Uring }));
            return image.OpenQueues(1, 4).Count == 1;
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void ShouldBeDone(LinuxRun run, VmOutcome end = VmOutcome.PowerOff, string task = "disk")
    {
        run.Console.Should().Contain("from-host: OK", run.Tail).And.Contain("from-guest: OK", run.Tail)
            .And.Contain($"GUEST-DONE {task}", run.Tail).And.NotContain("GUEST-FAILED");
        run.Result.Outcome.Should().Be(end, run.Tail);
        var counters = run.Result.Devices["disk0"];
        counters["errors"].Should().Be(0);
        counters["resetsNeeded"].Should().Be(0);
        counters["bytesWritten"].Should().BeGreaterThan(8 << 20);
        counters["flushes"].Should().BeGreaterThan(0);
    }
}
