using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Virtio;

namespace Kvm.Boot.Tests;

/// <summary>Linux and its balloon: what it gives is memory of the host's again. Runs that repeat, so that nothing depends on how long the host takes.</summary>
public class VirtioBalloonTests
{
    private const long Mib = 1 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableFact]
    public void Guest_gives_the_balloon_what_it_is_asked_for_and_the_host_has_it()
    {
        long freed = 0, given = 0;
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "balloon", s_limit, c => c with
        {
            MemoryBytes = 256 << 20,
            HugePages = false,
            Deterministic = true,
            Balloon = new BalloonConfig { DeflateOnOom = false, StatisticsSeconds = 1 },
        }, null, ("GUEST-FREED", vm =>
        {
            freed = vm.GuestResidentBytes;
            vm.LeaveMemory(116 << 20);
        }
        ), ("GUEST-GIVEN", vm => given = vm.GuestResidentBytes));
        run.Console.Should().Contain("GUEST-DONE balloon", run.Tail);
        freed.Should().BeGreaterThan(180 * Mib, "what the guest touched is resident, also when it does not need it");
        (freed - given).Should().BeGreaterThan(80 * Mib, "what was given is not");
        var counters = run.Result.Devices["balloon0"];
        counters["targetBytes"].Should().Be(140 * Mib);
        counters["inflatedBytes"].Should().BeGreaterThan(130 * Mib, "the script waits until so much is gone");
        counters["refused"].Should().Be(0);
        ShouldTellOfItsMemory(run, counters);
    }

    private static void ShouldTellOfItsMemory(LinuxRun run, IReadOnlyDictionary<string, long> counters)
    {
        counters["statistics"].Should().BeGreaterThan(1, "it was asked each second, beside what it said by itself");
        counters["guestTotalBytes"].Should().Be(Number(run, "GUEST-GIVEN ") * 1024, "by then the balloon has all it is to have")
            .And.BeInRange(60 * Mib, 116 * Mib);
        counters["guestFreeBytes"].Should().BeInRange(1, counters["guestTotalBytes"]);
        counters["guestAvailableBytes"].Should().BeInRange(1, counters["guestTotalBytes"]);
    }

    [SkippableFact]
    public void Stock_kernel_reports_what_is_free_by_itself_and_the_host_has_it()
    {
        using var initrd = new ModuleInitrd("virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev",
            "virtio/virtio_pci", "virtio/virtio_balloon");
        long freed = 0, reported = 0;
        var run = LinuxGuest.Boot("stock/bzImage", EngineChoice.Soft, "balloon-reports", s_limit, c => c with
        {
            InitrdPath = initrd.FilePath,
            MemoryBytes = 512 << 20,
            HugePages = false,
            Deterministic = true,
            Balloon = new BalloonConfig(),
        }, null, ("GUEST-FREED", vm => freed = vm.GuestResidentBytes), ("GUEST-REPORTED", vm => reported = vm.GuestResidentBytes));
        run.Console.Should().Contain("GUEST-DONE balloon-reports", run.Tail).And.NotContain("GUEST-FAILED");
        var counters = run.Result.Devices["balloon0"];
        counters["targetBytes"].Should().Be(0);
        counters["statistics"].Should().Be(1, "nobody asked");
        counters["guestMinorFaults"].Should().BeGreaterThan(0);
        counters["reportedBytes"].Should().BeGreaterThan(100 * Mib);
        (freed - reported).Should().BeGreaterThan(100 * Mib);
        (counters["inflatedBytes"], counters["refused"]).Should().Be((0, 0));
    }

    [SkippableFact]
    public void Guest_out_of_memory_takes_pages_back_and_nothing_is_killed()
    {
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "balloon-oom", s_limit, c => c with
        {
            MemoryBytes = 256 << 20,
            Deterministic = true,
            Balloon = new BalloonConfig { TargetBytes = 160 << 20, DeflateOnOom = true },
        });
        run.Console.Should().Contain("GUEST-DONE balloon-oom", run.Tail).And.NotContain("oom-kill").And.NotContain("Out of memory");
        Number(run, "GUEST-LEFT ").Should().BeLessThan(80 << 10);
        Number(run, "GUEST-HOGGED ").Should().Be(120 * Mib);
        var counters = run.Result.Devices["balloon0"];
        counters["inflatedBytes"].Should().BeGreaterThan(80 * Mib);
        counters["deflatedBytes"].Should().BeGreaterThan(0);
        counters["actualBytes"].Should().BeLessThan(counters["targetBytes"]);
    }

    /// <summary>The number behind a text that the guest printed.</summary>
    private static long Number(LinuxRun run, string text)
    {
        int at = run.Console.IndexOf(text, StringComparison.Ordinal);
        at.Should().BeGreaterThan(0, run.Tail);
        string rest = run.Console[(at + text.Length)..];
        return long.Parse(rest.AsSpan(0, rest.AsSpan().IndexOfAnyExceptInRange('0', '9')), CultureInfo.InvariantCulture);
    }
}
