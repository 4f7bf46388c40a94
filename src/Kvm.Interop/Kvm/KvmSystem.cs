using System.Runtime.InteropServices;
using System.Text;

namespace Kvm.Interop;

/// <summary>/dev/kvm: what this host's KVM can do, and the maker of VMs. Thread-safe but for disposal.</summary>
public sealed unsafe class KvmSystem : KvmFile
{
    private KvmSystem(FdHandle handle)
        : base(handle)
    {
    }

    /// <summary>Opens the device and checks its API version.</summary>
    /// <param name="path">The device node.</param>
    /// <exception cref="KvmException">Missing, not permitted, or an API version other than 12; the message says how to mend it.</exception>
    public static KvmSystem Open(string path = "/dev/kvm")
    {
        int errno = TryOpen(path, out KvmSystem? system);
        return errno == 0 ? system! : throw new KvmException($"open {path}", errno);
    }

    /// <summary>Opens the device: 0 and the system, or the positive errno and <c>null</c>. Throws where what was opened is no KVM of API version 12.</summary>
    public static int TryOpen(string path, out KvmSystem? system)
    {
        system = null;
        int fd;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + "\0"))
        {
            fd = Libc.open(name, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        }

        if (fd < 0)
        {
            return Errno.Last;
        }

        KvmSystem opened = new(new FdHandle(fd));
        try
        {
            int version = opened.GetApiVersion();
            if (version != KvmConst.KVM_API_VERSION)
            {
                throw new KvmException("KVM_GET_API_VERSION", Errno.EINVAL, $"This KVM speaks API version {version}, not 12: the kernel is older than 2.6.22");
            }

            system = opened;
            return 0;
        }
        finally
        {
            if (system is null)
            {
                opened.Dispose();
            }
        }
    }

    /// <summary>KVM_GET_API_VERSION: 12 on every kernel since 2.6.22.</summary>
    public int GetApiVersion() => Ioctl(KvmIoctl.KVM_GET_API_VERSION, 0);

    /// <summary>KVM_CHECK_EXTENSION: 0 where the capability is missing, else 1 or the number or mask it stands for.</summary>
    public int CheckExtension(KvmCap cap) => Ioctl(KvmIoctl.KVM_CHECK_EXTENSION, (nuint)cap);

    /// <summary>KVM_GET_VCPU_MMAP_SIZE: bytes of a vCPU's run page with its rings.</summary>
    public int GetVcpuMmapSize() => Ioctl(KvmIoctl.KVM_GET_VCPU_MMAP_SIZE, 0);

    /// <summary>KVM_CREATE_VM.</summary>
    /// <param name="type">0, or a type of KVM_CAP_VM_TYPES.</param>
    public KvmVm CreateVm(ulong type = 0)
    {
        int mmapSize = GetVcpuMmapSize();
        int fd = Ioctl(KvmIoctl.KVM_CREATE_VM, (nuint)type);
        return new KvmVm(new FdHandle(fd), mmapSize);
    }

    /// <summary>KVM_GET_SUPPORTED_CPUID: the CPUID leaves this KVM can give a guest.</summary>
    public KvmCpuidEntry2[] GetSupportedCpuid() => ReadCpuid(KvmIoctl.KVM_GET_SUPPORTED_CPUID);

    /// <summary>KVM_GET_EMULATED_CPUID: features KVM can emulate though the host's processor lacks them.</summary>
    public KvmCpuidEntry2[] GetEmulatedCpuid() => ReadCpuid(KvmIoctl.KVM_GET_EMULATED_CPUID);

    /// <summary>KVM_GET_SUPPORTED_HV_CPUID: the Hyper-V leaves this KVM can give a guest (KVM_CAP_SYS_HYPERV_CPUID).</summary>
    public KvmCpuidEntry2[] GetSupportedHvCpuid() => ReadCpuid(KvmIoctl.KVM_GET_SUPPORTED_HV_CPUID);

    /// <summary>KVM_GET_MSR_INDEX_LIST: the MSRs that make up a vCPU's state.</summary>
    public uint[] GetMsrIndexList() => ReadMsrList(KvmIoctl.KVM_GET_MSR_INDEX_LIST);

    /// <summary>KVM_GET_MSR_FEATURE_INDEX_LIST: the MSRs that describe features, readable with <see cref="GetFeatureMsrs"/>.</summary>
    public uint[] GetMsrFeatureIndexList() => ReadMsrList(KvmIoctl.KVM_GET_MSR_FEATURE_INDEX_LIST);

    /// <summary>KVM_GET_MSRS on the system: the values of feature MSRs. Returns how many were read before the first that was refused.</summary>
    public int GetFeatureMsrs(Span<KvmMsrEntry> entries) => ReadMsrs(entries);

    /// <summary>KVM_X86_GET_MCE_CAP_SUPPORTED: the machine-check capabilities <see cref="KvmVcpu.SetupMce"/> may be given.</summary>
    public ulong GetMceCapSupported() => Read<ulong>(KvmIoctl.KVM_X86_GET_MCE_CAP_SUPPORTED);

    private uint[] ReadMsrList(uint request)
    {
        string name = request == KvmIoctl.KVM_GET_MSR_INDEX_LIST ? nameof(KvmIoctl.KVM_GET_MSR_INDEX_LIST) : nameof(KvmIoctl.KVM_GET_MSR_FEATURE_INDEX_LIST);
        // Too small a buffer ends in E2BIG with the right count written back; the list can only grow between two calls by a module load.
        for (int capacity = 512; ; capacity *= 2)
        {
            using VariableStruct buffer = new(sizeof(KvmMsrList), sizeof(uint), capacity);
            KvmMsrList* header = (KvmMsrList*)buffer.Pointer;
            header->Nmsrs = (uint)capacity;
            int result = TryIoctl(request, header);
            if (result >= 0)
            {
                return new ReadOnlySpan<uint>(header + 1, (int)Math.Min(header->Nmsrs, (uint)capacity)).ToArray();
            }

            if (result != -Errno.E2BIG || capacity > 8192)
            {
                throw new KvmException(name, -result);
            }
        }
    }
}
