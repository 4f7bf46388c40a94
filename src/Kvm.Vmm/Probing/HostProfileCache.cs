using System.Globalization;
using System.Text;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Probing;

/// <summary>
/// Keeps a probe's result in the runtime folder under what it depends on: the host's boot, the KVM modules and their
/// parameters. A cache that cannot be read or written only costs a new probe.
/// </summary>
internal static class HostProfileCache
{
    private const string FileName = "host-profile";
    private const int FormatVersion = 1;

    /// <summary>The stored profile, or null if there is none for this boot and these modules.</summary>
    public static HostProfile? Read()
    {
        try
        {
            string path = Path.Combine(Folders.Runtime, FileName);
            return File.Exists(path) ? Parse(File.ReadAllLines(path), Key()) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Stores a profile; a reader never sees half of it.</summary>
    public static void Write(HostProfile profile)
    {
        try
        {
            string path = Path.Combine(Folders.Runtime, FileName);
            string temporary = $"{path}.{Environment.ProcessId}";
            File.WriteAllText(temporary, Format(profile, Key()));
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Probing again next time is right, only slower.
        }
    }

    internal static string Format(HostProfile profile, string key) => string.Create(CultureInfo.InvariantCulture,
        $"{key}\nbackend={profile.Backend}\nns={profile.NanosecondsPerKernelInstruction:R}\ngivesup={profile.GivesUpOnInstructions}\nsyscall={profile.SyscallBroken}\n");

    internal static HostProfile? Parse(string[] lines, string key)
    {
        if (lines is not [var first, ['b', 'a', 'c', 'k', 'e', 'n', 'd', '=', .. var backend], ['n', 's', '=', .. var ns],
                ['g', 'i', 'v', 'e', 's', 'u', 'p', '=', .. var givesUp], ['s', 'y', 's', 'c', 'a', 'l', 'l', '=', .. var syscall]]
            || first != key
            || !double.TryParse(ns, CultureInfo.InvariantCulture, out double nanoseconds)
            || !bool.TryParse(givesUp, out bool gives)
            || !bool.TryParse(syscall, out bool broken))
        {
            return null;
        }

        return new HostProfile
        {
            Backend = backend,
            NanosecondsPerKernelInstruction = nanoseconds,
            GivesUpOnInstructions = gives,
            SyscallBroken = broken,
        };
    }

    /// <summary>One line of everything a probe's result depends on.</summary>
    private static string Key()
    {
        var key = new StringBuilder().Append(CultureInfo.InvariantCulture, $"v{FormatVersion} {ReadLine("/proc/sys/kernel/random/boot_id")}");
        foreach (string module in KvmModules.Loaded())
        {
            key.Append(' ').Append(module);
            string folder = $"/sys/module/{module}/parameters";
            if (!Directory.Exists(folder))
                continue;
            foreach (string file in Directory.GetFiles(folder).Order(StringComparer.Ordinal))
                key.Append(' ').Append(Path.GetFileName(file)).Append('=').Append(ReadLine(file));
        }

        return key.ToString();
    }

    private static string ReadLine(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim().ReplaceLineEndings(" ");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "?";
        }
    }
}
