using Kvm.Interop;
using Kvm.Vmm.Probing;

namespace Kvm.Vmm.Tests.Probing;

/// <summary>The causes of "no /dev/kvm" that look alike from outside, told apart on made-up hosts.</summary>
public sealed class DoctorDeviceTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("kvmsharp-host-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private DoctorDeviceTests With(string path, string text = "")
    {
        var file = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
        return this;
    }

    private DoctorDeviceTests WithProcessor(string vendor, string flags) =>
        With("proc/cpuinfo", $"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A processor\nflags\t\t: fpu {flags} sse\n\nprocessor\t: 1\nflags\t\t: vmx svm hypervisor\n");

    private DoctorDeviceTests WithModule(string name) => With($"sys/module/{name}/refcnt", "0");

    private (string Cause, string Fix) Diagnose(int errno) => DoctorDevice.Diagnose(errno, new DoctorHost(_root));

    [Theory]
    [InlineData("GenuineIntel", "vmx", "VT-x", "kvm_intel")]
    [InlineData("AuthenticAMD", "svm", "AMD-V", "kvm_amd")]
    public void A_processor_that_can_and_no_module_is_mended_by_modprobe(string vendor, string flag, string name, string module)
    {
        WithProcessor(vendor, flag);
        var (cause, fix) = Diagnose(Errno.ENOENT);
        cause.Should().Contain(name).And.Contain(module).And.Contain("not loaded");
        fix.Should().Be($"sudo modprobe {module}");
    }

    [Fact]
    public void A_node_without_a_driver_is_a_missing_module_too()
    {
        WithProcessor("GenuineIntel", "vmx").With("dev/kvm");
        Diagnose(Errno.ENODEV).Fix.Should().Be("sudo modprobe kvm_intel");
    }

    [Theory]
    [InlineData(".dockerenv", "", "Docker")]
    [InlineData("run/.containerenv", "", "Podman")]
    [InlineData("run/systemd/container", "lxc\n", "lxc")]
    [InlineData("var/run/secrets/kubernetes.io/token", "", "Kubernetes")]
    public void A_container_whose_kernel_has_KVM_lacks_only_the_device(string mark, string text, string name)
    {
        WithProcessor("GenuineIntel", "vmx").WithModule("kvm_intel").With(mark, text);
        var (cause, fix) = Diagnose(Errno.ENOENT);
        cause.Should().Contain($"({name})").And.Contain("without the device");
        fix.Should().Contain("--device /dev/kvm");
    }

    [Fact]
    public void A_container_whose_kernel_has_no_KVM_is_mended_outside()
    {
        WithProcessor("AuthenticAMD", "svm").With(".dockerenv");
        Diagnose(Errno.ENOENT).Fix.Should().Be("sudo modprobe kvm_amd (outside the container)");
    }

    [Fact]
    public void A_loaded_module_without_a_node_needs_the_node()
    {
        WithProcessor("AuthenticAMD", "svm").With("proc/misc", "183 hw_random\n232 kvm\n");
        var (cause, fix) = Diagnose(Errno.ENOENT);
        cause.Should().Contain("node is missing");
        fix.Should().Contain("mknod -m 660 /dev/kvm c 10 232");
    }

    [Fact]
    public void A_guest_without_VT_x_has_nested_virtualization_off()
    {
        WithProcessor("GenuineIntel", "hypervisor").With("sys/class/dmi/id/sys_vendor", "QEMU\n").With("sys/class/dmi/id/product_name", "Standard PC\n");
        var (cause, fix) = Diagnose(Errno.ENOENT);
        cause.Should().Contain("(QEMU Standard PC)").And.Contain("nested virtualization is off");
        fix.Should().Contain("nested=1");
    }

    [Fact]
    public void A_bare_machine_without_VT_x_has_it_off_in_the_firmware()
    {
        WithProcessor("GenuineIntel", "");
        Diagnose(Errno.ENOENT).Fix.Should().Contain("firmware");
    }

    [Fact]
    public void A_host_without_readable_files_is_still_told_something()
    {
        var (cause, fix) = DoctorDevice.Diagnose(Errno.ENOENT, new DoctorHost("/nonexistent"));
        cause.Should().NotBeEmpty();
        fix.Should().NotBeEmpty();
    }

    [Fact]
    public void Another_hypervisor_and_too_many_files_are_named()
    {
        Diagnose(Errno.EBUSY).Cause.Should().Contain("VirtualBox");
        Diagnose(Errno.EMFILE).Fix.Should().Contain("ulimit -n");
        Diagnose(Errno.EIO).Cause.Should().Contain("EIO");
    }

    [SkippableFact]
    public void Root_that_may_not_is_inside_device_rules()
    {
        Skip.IfNot(Environment.IsPrivilegedProcess, "needs root");
        Diagnose(Errno.EPERM).Cause.Should().Contain("device rules");
    }

    [SkippableFact]
    public void A_user_who_may_not_is_told_by_the_mode_and_the_group()
    {
        Skip.If(Environment.IsPrivilegedProcess, "needs an ordinary user");
        With("dev/kvm").With("etc/group", "root:x:0:\nkvm:x:104:\n").With("proc/self/status", "Groups:\t1000\n");
        File.SetUnixFileMode(Path.Combine(_root, "dev/kvm"), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Diagnose(Errno.EACCES).Fix.Should().Contain("chmod 660");
        File.SetUnixFileMode(Path.Combine(_root, "dev/kvm"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
        Diagnose(Errno.EACCES).Fix.Should().Contain("usermod -aG kvm");
        With("etc/group", $"kvm:x:104:other,{Environment.UserName}\n");
        Diagnose(Errno.EACCES).Fix.Should().Contain("newgrp kvm");
    }

    [Fact]
    public void The_first_processor_speaks_for_all()
    {
        WithProcessor("AuthenticAMD", "svm");
        var host = new DoctorHost(_root);
        (host.HasSvm, host.HasVmx, host.IsGuest, host.IsIntel, host.ProcessorName).Should().Be((true, false, false, false, "A processor"));
    }

    [Fact]
    public void Groups_are_understood()
    {
        With("etc/group", "root:x:0:\nkvm:x:104:ann,bob\n").With("proc/self/status", "Name:\tx\nGroups:\t20 104 \n");
        var host = new DoctorHost(_root);
        host.KvmGroupMembers.Should().Equal("ann", "bob");
        (host.HasKvmGroup, host.IsInKvmGroup).Should().Be((true, true));
        With("proc/self/status", "Groups:\t1040\n");
        host.IsInKvmGroup.Should().BeFalse();
    }
}
