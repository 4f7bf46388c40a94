namespace Kvm.Interop;

/// <summary>A system call or ioctl of set-up failed. The message names the call, the error by name and text, and what usually mends it.</summary>
public sealed class KvmException : Exception
{
    /// <summary>Describes the failure of <paramref name="call"/>.</summary>
    /// <param name="call">The ioctl or function as the C header calls it.</param>
    /// <param name="errno">The positive error number.</param>
    /// <param name="hint">What to try, or <c>null</c> for what <see cref="HintFor"/> knows.</param>
    public KvmException(string call, int errno, string? hint = null)
        : base(Describe(call, errno, hint ?? HintFor(call, errno)))
    {
        Call = call;
        Errno = errno;
    }

    /// <summary>The ioctl or function that failed, as the C header calls it.</summary>
    public string Call { get; }

    /// <summary>The positive error number (<see cref="Interop.Errno"/>).</summary>
    public int Errno { get; }

    private static string Describe(string call, int errno, string? hint)
    {
        string message = $"{call} failed: {Interop.Errno.NameOf(errno)} ({Interop.Errno.TextOf(errno)})";
        return hint is null ? message : $"{message}. {hint}";
    }

    /// <summary>What a KVM error means where the bare errno does not say it, or <c>null</c>. From Documentation/virt/kvm/api.rst.</summary>
    public static string? HintFor(string call, int errno) => (call, errno) switch
    {
        ("open /dev/kvm", Interop.Errno.ENOENT) => "The kvm module is not loaded: modprobe kvm_intel or kvm_amd; in a container, pass --device /dev/kvm",
        ("open /dev/kvm", Interop.Errno.EACCES or Interop.Errno.EPERM) => "Not permitted: sudo usermod -aG kvm $USER, then log in again",
        ("open /dev/kvm", Interop.Errno.ENXIO or Interop.Errno.ENODEV) => "The device node is there but the kvm module is not: modprobe kvm_intel or kvm_amd",
        ("KVM_CREATE_VM", Interop.Errno.EBUSY) => "Another hypervisor holds the processor's virtualization (VirtualBox, VMware)",
        ("KVM_CREATE_VM", Interop.Errno.EINVAL) => "This KVM does not know the type of VM asked for",
        ("KVM_CREATE_VM" or "KVM_CREATE_VCPU", Interop.Errno.ENOMEM) => "The host is out of memory for page tables",
        ("KVM_CREATE_VCPU", Interop.Errno.EEXIST) => "There is a vCPU of this number or APIC identifier already",
        ("KVM_CREATE_VCPU", Interop.Errno.EINVAL) => "More vCPUs than this KVM allows, or a number over KVM_CAP_MAX_VCPU_ID",
        ("KVM_SET_USER_MEMORY_REGION", Interop.Errno.EEXIST) => "The slot overlaps another",
        ("KVM_SET_USER_MEMORY_REGION", Interop.Errno.EINVAL) => "Address or size is not a multiple of 4096, the slot number is too large, or the kernel cannot do the flags",
        ("KVM_CREATE_IRQCHIP", Interop.Errno.EEXIST) => "The VM has its interrupt chips already",
        ("KVM_CREATE_IRQCHIP", Interop.Errno.EINVAL) => "The chips must be made before the first vCPU",
        ("KVM_CREATE_PIT2", Interop.Errno.ENOENT) => "The timer needs the in-kernel interrupt chips first",
        ("KVM_IOEVENTFD", Interop.Errno.EEXIST) => "There is an event at this address, width and value already",
        ("KVM_IRQFD", Interop.Errno.EBUSY) => "This eventfd raises an interrupt already",
        ("KVM_SET_CPUID2", Interop.Errno.E2BIG) => "Too many CPUID leaves",
        ("KVM_SET_CPUID2", Interop.Errno.EINVAL) => "CPUID cannot be changed after the first run, or a leaf contradicts the host",
        ("KVM_SET_SREGS", Interop.Errno.EINVAL) => "The control registers, EFER or the APIC base contradict each other or what this KVM can run",
        (_, Interop.Errno.EMFILE) => "Too many open files: raise the limit (ulimit -n)",
        (_, Interop.Errno.ENOTTY) => "This kernel's KVM does not have the call",
        _ => null,
    };
}
