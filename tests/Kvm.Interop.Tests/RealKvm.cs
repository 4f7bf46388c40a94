using Kvm.Interop;

namespace Kvm.Interop.Tests;

/// <summary>The host's /dev/kvm for tests that need it; without one they are skipped with the reason.</summary>
internal static class RealKvm
{
    public static KvmSystem Open()
    {
        int errno = KvmSystem.TryOpen("/dev/kvm", out KvmSystem? system);
        Skip.If(errno != 0, $"/dev/kvm: {Errno.TextOf(errno)}");
        return system!;
    }

    /// <summary>
    /// Whether the host's processor offers VT-x or AMD-V. Without, /dev/kvm comes from a KVM that interprets kernels, which does not do
    /// all that the API promises; tests of what it leaves out are skipped there, and only there.
    /// </summary>
    public static bool HasHardware { get; } = File.ReadLines("/proc/cpuinfo")
        .First(line => line.StartsWith("flags", StringComparison.Ordinal))
        .Split(' ')
        .Any(flag => flag is "vmx" or "svm");
}
