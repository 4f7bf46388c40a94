using Kvm.Vmm.Probing;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The kernel command line: built from the devices and from what correctness needs, then the user's own, which wins
/// because Linux takes the last of most options.
/// </summary>
internal static class CommandLine
{
    /// <summary>From the devices: the serial port takes the kernel's messages from the start, without a driver that may come late.</summary>
    private const string SerialConsole = "console=ttyS0";

    /// <summary>The last console named is <c>/dev/console</c>, where programs read and write.</summary>
    private const string VirtioConsole = "console=hvc0";

    /// <summary>A panic ends the run at once instead of leaving a guest that nobody can use; <c>--append panic=0</c> keeps it.</summary>
    private const string EndOnPanic = "panic=-1";

    /// <summary>For an init that starts the agent when it is told to: ours does.</summary>
    private const string StartAgent = "kvmsharp.agent=1";

    /// <summary>We enter the unpacked kernel where it was linked to run: its own loader, which would move it, is not there.</summary>
    private const string FromEntry = "nokaslr";

    private const string ClearCpuid = "clearcpuid=";

    /// <summary>
    /// For a KVM that gives up on kernel-mode vector instructions and puts CPUID bits back that were masked: features whose only
    /// use in a kernel is vector code (Linux's numbers, which every version takes: 137 SSSE3, 304 AVX-512F). Completion does
    /// not know AVX-512; programs in the guest see from XCR0 that it is off.
    /// </summary>
    private const string HiddenFeatures = "137,304";

    /// <summary>
    /// Only for speed, only where kernels are interpreted, only on request (--append-fast): docs/boot.md says what each costs
    /// the guest.
    /// </summary>
    private const string Fast = "no_timer_check tsc=reliable mitigations=off cryptomgr.notests random.trust_cpu=on rodata=off nohz=off quiet";

    private const string FastFeatures = "smap,erms,fsrm,aes,pclmulqdq,sha_ni";

    /// <summary>Builds the line for <paramref name="config"/> on a host with <paramref name="profile"/>.</summary>
    /// <param name="config">What the user asked for.</param>
    /// <param name="profile">What is known of the KVM that runs the guest; a plain one for the software engine.</param>
    public static string Build(VmConfig config, HostProfile profile)
    {
        if (config.CommandLine is { } whole)
            return whole;
        bool fast = config.AppendFast && profile.KernelInterpreted;
        string features = Join(',', profile.GivesUpOnInstructions ? HiddenFeatures : "", fast ? FastFeatures : "");
        return Join(' ', SerialConsole, config.Console == GuestConsole.Virtio ? VirtioConsole : "", EndOnPanic, Root(config), MmioDevices(config), FromEntry, fast ? Fast : "", config.Agent ? StartAgent : "", WithFeatures(config.Append, features));
    }

    /// <summary>
    /// Where virtio-mmio devices are, for a kernel that is told not to look into ACPI, which says it too: one that did both would find each
    /// device twice. Linux: Documentation/admin-guide/kernel-parameters.txt, virtio_mmio.device=.
    /// </summary>
    private static string MmioDevices(VmConfig config)
    {
        if (config.Virtio != VirtioTransport.Mmio || Array.FindLast(Words(config.Append), o => o.StartsWith("acpi=", StringComparison.Ordinal)) != "acpi=off")
            return "";
        return string.Join(' ', Enumerable.Range(0, VirtioSet.CountOf(config)).Select(slot =>
            $"virtio_mmio.device={MachineLayout.VirtioMmioSlotSize >> 10}K@0x{MachineLayout.VirtioMmioAddress(slot):x}:{MachineLayout.VirtioMmioGsis[slot]}"));
    }

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>
    /// The disk that is marked as the root; where none is and no initial RAM file system does the mounting, the first.
    /// </summary>
    private static string Root(VmConfig config)
    {
        int index = -1;
        for (int i = config.Disks.Count - 1; i >= 0; i--)
            index = config.Disks[i].IsRoot || (index < 0 && i == 0 && config.InitrdPath is null) ? i : index;
        if (index < 0)
            return "";
        var disk = config.Disks[index];
        string device = disk is { IsRoot: true, PartUuid: { } partition } ? $"PARTUUID={partition}" : $"/dev/{DiskName(index)}";
        return $"root={device} {(disk.ReadOnly ? "ro" : "rw")}";
    }

    /// <summary>What Linux calls a virtio disk: vda to vdz, then vdaa.</summary>
    private static string DiskName(int index) => index < 26 ? $"vd{(char)('a' + index)}" : $"vda{(char)('a' + index - 26)}";

    /// <summary>Of several <c>clearcpuid=</c> Linux takes the last alone, so ours goes into the user's where there is one.</summary>
    private static string WithFeatures(string append, string features)
    {
        if (features.Length == 0)
            return append;
        string[] options = Words(append);
        int last = Array.FindLastIndex(options, o => o.StartsWith(ClearCpuid, StringComparison.Ordinal));
        if (last < 0)
            return Join(' ', ClearCpuid + features, append);
        options[last] += $",{features}";
        return string.Join(' ', options);
    }

    private static string Join(char separator, params ReadOnlySpan<string> parts)
    {
        var kept = new List<string>();
        foreach (string part in parts)
        {
            if (part.Length > 0)
                kept.Add(part);
        }

        return string.Join(separator, kept);
    }
}
