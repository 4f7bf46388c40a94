using Kvm.Vmm.Probing;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The kernel command line: built from the devices and from what correctness needs, then the user's own, which wins
/// because Linux takes the last of most options.
/// </summary>
internal static class CommandLine
{
    /// <summary>
    /// From the devices: the console; <c>reboot=t</c>-like choices are not needed because ACPI has a reset register. A panic
    /// ends the run at once instead of leaving a guest that nobody can use; <c>--append panic=0</c> keeps it.
    /// </summary>
    private const string FromDevices = "console=ttyS0 panic=-1";

    /// <summary>We enter the unpacked kernel where it was linked to run: its own loader, which would move it, is not there.</summary>
    private const string FromEntry = "nokaslr";

    /// <summary>
    /// Only for speed, only where kernels are interpreted, only on request (--append-fast): see docs/boot.md for what each
    /// costs the guest.
    /// </summary>
    private const string Fast = "no_timer_check tsc=reliable mitigations=off cryptomgr.notests random.trust_cpu=on rodata=off nohz=off "
        + "quiet clearcpuid=smap,erms,fsrm";

    /// <summary>Builds the line for <paramref name="config"/> on a host with <paramref name="profile"/>.</summary>
    public static string Build(VmConfig config, HostProfile profile)
    {
        if (config.CommandLine is { } whole)
            return whole;
        IEnumerable<string> parts =
        [
            FromDevices,
            FromEntry,
            config.AppendFast && profile.KernelInterpreted ? Fast : "",
            config.Append,
        ];
        return string.Join(' ', parts.Where(p => p.Length > 0));
    }
}
