using Kvm.Interop;

namespace Kvm.Vmm.Probing;

/// <summary>Why /dev/kvm cannot be opened, and what mends it: the causes that give the same error are told apart.</summary>
internal static class DoctorDevice
{
    /// <summary>The device.</summary>
    public const string Path = "/dev/kvm";

    /// <summary>Finds the cause of a failed opening.</summary>
    /// <param name="errno">The positive error number that open gave.</param>
    /// <param name="host">The host's files.</param>
    public static (string Cause, string Fix) Diagnose(int errno, DoctorHost host) => errno switch
    {
        Errno.EACCES or Errno.EPERM => NotPermitted(host),
        Errno.ENOENT or Errno.ENODEV or Errno.ENXIO => Missing(host),
        Errno.EBUSY => ("another hypervisor holds the processor's virtualization (VirtualBox, VMware)", "Stop the other hypervisor's machines."),
        Errno.EMFILE or Errno.ENFILE => ("too many files are open", "Raise the limit: ulimit -n 4096"),
        Errno.ENOTTY or Errno.EINVAL => ("what is there is no KVM, or one older than Linux 2.6.22", "Make the node anew: sudo rm /dev/kvm && sudo modprobe -r kvm && sudo modprobe kvm"),
        _ => ($"opening it fails with {Errno.NameOf(errno)} ({Errno.TextOf(errno)})", "Look at the kernel's messages: sudo dmesg | grep -i kvm"),
    };

    private static (string Cause, string Fix) Missing(DoctorHost host)
    {
        var modules = host.KvmModules;
        var running = host.IsKvmRegistered || modules.Any(m => m is not "kvm");
        if (running && host.Container is { } container)
        {
            return ($"the kernel has KVM, but this container ({container}) was started without the device",
                "Start it with: docker run --device /dev/kvm … (the same for podman)");
        }

        if (running && !host.Exists("dev/kvm"))
            return ("KVM is loaded, but the node is missing", "sudo mknod -m 660 /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm");
        if (host.HasVmx || host.HasSvm)
        {
            var module = host.HasVmx ? "kvm_intel" : "kvm_amd";
            return ($"the processor can ({(host.HasVmx ? "VT-x" : "AMD-V")}), but the module {module} is not loaded",
                $"sudo modprobe {module}{(host.Container is null ? "" : " (outside the container)")}");
        }

        if (host.IsGuest)
        {
            return ($"this host is a guest itself{(host.MachineName is { } name ? $" ({name})" : "")}, and nested virtualization is off",
                "On the outer host: modprobe kvm_intel nested=1 (or kvm_amd) and the processor model 'host'; in a cloud take a machine type that allows it. Meanwhile: --engine soft");
        }

        return ("the processor offers neither VT-x nor AMD-V", "Turn on virtualization (VT-x, SVM) in the firmware's setup. Meanwhile: --engine soft");
    }

    private static (string Cause, string Fix) NotPermitted(DoctorHost host)
    {
        if (Environment.IsPrivilegedProcess)
        {
            return ("root may not open it: the device rules of a container or of a service forbid it",
                "docker run --device /dev/kvm …; in a systemd unit: DeviceAllow=/dev/kvm rw");
        }

        const UnixFileMode group = UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
        if (host.Mode("dev/kvm") is { } mode && (mode & group) != group)
            return ("only root may open it", "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm");
        if (!host.IsInKvmGroup && host.KvmGroupMembers.Contains(Environment.UserName))
            return ($"{Environment.UserName} is in the group kvm since after this login", "Log in again, or: newgrp kvm");
        return ("it belongs to the group kvm, which this user is not in", "sudo usermod -aG kvm $USER, then log in again");
    }
}
