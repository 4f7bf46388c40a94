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
}
