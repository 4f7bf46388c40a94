using Kvm.Vmm.Boot;
using Kvm.Vmm.Probing;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Tests.Boot;

public class CommandLineTests
{
    private static readonly HostProfile s_interpreting = new() { GivesUpOnInstructions = true, NanosecondsPerKernelInstruction = 600 };

    [Fact]
    public void Plain_host_gets_what_devices_and_the_way_in_need() =>
        Build(HostProfile.Plain).Should().Be("console=ttyS0 panic=-1 nokaslr");

    [Fact]
    public void User_text_comes_last() => Build(HostProfile.Plain, "root=/dev/vda quiet").Should().EndWith("nokaslr root=/dev/vda quiet");

    [Theory]
    [InlineData(true, "root=PARTUUID=0eaa91a0-01 ro")]
    [InlineData(false, "root=/dev/vda ro")]
    public void The_root_is_the_partition_that_the_root_disk_names(bool isRoot, string root) =>
        CommandLine.Build(new VmConfig { KernelPath = "k", Disks = [new DiskConfig { Path = "d", IsRoot = isRoot, PartUuid = "0eaa91a0-01", ReadOnly = true }] }, HostProfile.Plain).Should().Contain(root);

    [Fact]
    public void Whole_line_of_the_user_replaces_everything() =>
        CommandLine.Build(new VmConfig { KernelPath = "k", CommandLine = "mine" }, s_interpreting).Should().Be("mine");

    [Fact]
    public void Host_that_gives_up_on_vector_instructions_hides_their_features() =>
        Build(s_interpreting, "quiet").Should().Be("console=ttyS0 panic=-1 nokaslr clearcpuid=137,304 quiet");

    [Fact]
    public void Features_the_user_clears_are_cleared_with_ours_because_Linux_takes_the_last_list_alone() =>
        Build(s_interpreting, "a clearcpuid=smap b").Should().EndWith("nokaslr a clearcpuid=smap,137,304 b");

    [Fact]
    public void Speed_is_only_for_hosts_that_interpret_and_only_on_request()
    {
        Build(s_interpreting).Should().NotContain("mitigations");
        Build(s_interpreting, fast: true).Should().Contain("mitigations=off").And.Contain("clearcpuid=137,304,smap");
        Build(HostProfile.Plain, fast: true).Should().Be(Build(HostProfile.Plain));
    }

    [Fact]
    public void First_disk_is_the_root_where_no_initial_file_system_mounts_it_and_the_users_own_comes_after()
    {
        var config = new VmConfig { KernelPath = "k", Disks = [new DiskConfig { Path = "a" }, new DiskConfig { Path = "b" }] };
        CommandLine.Build(config, HostProfile.Plain).Should().Be("console=ttyS0 panic=-1 root=/dev/vda rw nokaslr");
        CommandLine.Build(config with { Append = "root=/dev/vdb" }, HostProfile.Plain).Should().EndWith("root=/dev/vda rw nokaslr root=/dev/vdb");
        CommandLine.Build(config with { InitrdPath = "i" }, HostProfile.Plain).Should().NotContain("root=");
    }

    [Theory]
    [InlineData(0, "vda")]
    [InlineData(25, "vdz")]
    [InlineData(26, "vdaa")]
    [InlineData(30, "vdae")]
    public void Disk_that_is_marked_is_the_root_also_with_an_initial_file_system(int index, string name)
    {
        var disks = Enumerable.Range(0, 31).Select(i => new DiskConfig { Path = "d", IsRoot = i == index, ReadOnly = true }).ToArray();
        CommandLine.Build(new VmConfig { KernelPath = "k", InitrdPath = "i", Disks = disks }, HostProfile.Plain).Should().Contain($" root=/dev/{name} ro ");
    }

    [Theory]
    [InlineData("acpi=off", true)]
    [InlineData("quiet acpi=off panic=0", true)]
    [InlineData("acpi=off acpi=on", false)]
    [InlineData("acpi=offline", false)]
    [InlineData("", false)]
    public void Mmio_devices_are_on_the_line_where_the_kernel_does_not_look_into_ACPI(string append, bool there)
    {
        var config = new VmConfig { KernelPath = "k", InitrdPath = "i", Append = append, Entropy = true, Console = GuestConsole.Virtio, Virtio = VirtioTransport.Mmio };
        string line = CommandLine.Build(config, HostProfile.Plain);
        line.Should().StartWith("console=ttyS0 console=hvc0 panic=-1 ");
        line.Contains(" virtio_mmio.device=4K@0xfeb00000:20 virtio_mmio.device=4K@0xfeb01000:21 ", StringComparison.Ordinal).Should().Be(there);
        line.Contains("virtio_mmio", StringComparison.Ordinal).Should().Be(there);
        CommandLine.Build(config with { Virtio = VirtioTransport.Pci }, HostProfile.Plain).Should().NotContain("virtio_mmio");
    }

    private static string Build(HostProfile profile, string append = "", bool fast = false) =>
        CommandLine.Build(new VmConfig { KernelPath = "k", Append = append, AppendFast = fast }, profile);
}
