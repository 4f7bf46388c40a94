namespace Kvm.Vmm.Probing;

/// <summary>The kernel modules behind /dev/kvm.</summary>
internal static class KvmModules
{
    /// <summary>Names under /sys/module that begin with <c>kvm</c>, in order; built-in modules with parameters are there too.</summary>
    public static IReadOnlyList<string> Loaded() => Directory.Exists("/sys/module")
        ? [.. Directory.GetDirectories("/sys/module", "kvm*").Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)]
        : [];

    /// <summary>The backend's name for people and reports. Nothing is ever decided by it.</summary>
    public static string BackendName()
    {
        var loaded = Loaded();
        return loaded.Contains("kvm_pvm") ? "pvm"
            : loaded.Contains("kvm_intel") ? "vmx"
            : loaded.Contains("kvm_amd") ? "svm"
            : "unknown";
    }
}
