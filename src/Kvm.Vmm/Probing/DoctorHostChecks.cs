using System.Globalization;
using System.Runtime.InteropServices;
using Kvm.Interop.Slirp;
using Kvm.Vmm.Host;
using Kvm.Vmm.Network;

namespace Kvm.Vmm.Probing;

/// <summary>The checks that need no KVM: processor, memory, libraries, folders.</summary>
internal static class DoctorHostChecks
{
    private static readonly (string File, string Format, string Package)[] s_libraries =
        [("liblz4.so.1", "LZ4", "liblz4-1"), ("libzstd.so.1", "zstd", "libzstd1"), ("liblzma.so.5", "xz", "liblzma5")];

    /// <summary>All of them.</summary>
    public static IEnumerable<DoctorCheck> All(DoctorHost host)
    {
        yield return Processor(host);
        yield return Memory(host);
        yield return HugePages(host);
        yield return Libraries();
        yield return UserNetwork();
        yield return RuntimeFolder();
    }

    /// <summary>Who makes a network of <c>--net</c>; whether passt can start is known when it does.</summary>
    private static DoctorCheck UserNetwork()
    {
        string? program = PasstBackend.FindProgram(), library = SlirpStack.IsInstalled ? $"libslirp {SlirpStack.Version}" : null;
        return program is null && library is null
            ? new DoctorCheck("user-network", "User network", DoctorStatus.Warning, "neither passt nor libslirp")
            {
                Cause = "--net and --publish make networks by one of them",
                Fix = "sudo apt install libslirp0",
            }
            : new DoctorCheck("user-network", "User network", DoctorStatus.Ok, string.Join(", ", new[] { program, library }.Where(w => w is not null)));
    }

    private static DoctorCheck Processor(DoctorHost host)
    {
        var offers = host.HasVmx ? "VT-x (vmx)" : host.HasSvm ? "AMD-V (svm)" : "neither VT-x nor AMD-V";
        var guest = host.IsGuest ? $"; a guest itself{(host.MachineName is { } name ? $" of {name}" : "")}" : "";
        return new DoctorCheck("processor", "Processor", DoctorStatus.Ok,
            $"{host.ProcessorName}, {Environment.ProcessorCount} for this process; offers {offers}{guest}");
    }

    private static DoctorCheck Memory(DoctorHost host)
    {
        if (host.Memory("MemAvailable") is not { } available)
            return new DoctorCheck("memory", "Memory", DoctorStatus.Warning, "how much is free is unknown") { Cause = "/proc/meminfo cannot be read" };
        var limit = Limit(host);
        var most = limit is { } l && l < available ? l : available;
        var finding = $"{Mib(available)} MiB available{(limit is { } m ? $", {Mib(m)} MiB allowed to this process" : "")}";
        return most >= 512UL << 20
            ? new DoctorCheck("memory", "Memory", DoctorStatus.Ok, finding)
            : new DoctorCheck("memory", "Memory", DoctorStatus.Warning, finding)
            {
                Cause = "a guest has 256 MiB unless told otherwise, and little more than that is left",
                Fix = "Give guests less with --memory, or raise the limit: ulimit -v unlimited",
            };
    }

    /// <summary>The least of the limits on this process's memory: RLIMIT_AS and the control group's, or null for none.</summary>
    private static ulong? Limit(DoctorHost host)
    {
        ulong? least = null;
        var line = host.Read("proc/self/limits")?.Split('\n').FirstOrDefault(l => l.StartsWith("Max address space", StringComparison.Ordinal));
        Take(line?.Split(' ', StringSplitOptions.RemoveEmptyEntries).ElementAtOrDefault(3));
        Take(host.Read("sys/fs/cgroup/memory.max"));
        Take(host.Read("sys/fs/cgroup/memory/memory.limit_in_bytes"));
        return least;

        void Take(string? text)
        {
            // Version 1 of control groups writes "no limit" as a number near 2^63.
            if (ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) && bytes < 1UL << 60)
                least = least is { } l && l < bytes ? l : bytes;
        }
    }

    private static DoctorCheck HugePages(DoctorHost host)
    {
        var setting = host.Read("sys/kernel/mm/transparent_hugepage/enabled");
        var chosen = setting is not null && setting.IndexOf('[', StringComparison.Ordinal) is var at and >= 0
            ? setting[(at + 1)..].Split(']')[0]
            : null;
        return chosen is "always" or "madvise"
            ? new DoctorCheck("huge-pages", "Huge pages", DoctorStatus.Ok, $"transparent huge pages: {chosen}")
            : new DoctorCheck("huge-pages", "Huge pages", DoctorStatus.Warning, $"transparent huge pages: {chosen ?? "not in this kernel"}")
            {
                Cause = "guest memory is mapped in pages of 4 KiB: more TLB misses, slower first touches",
                Fix = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
            };
    }

    private static DoctorCheck Libraries()
    {
        var missing = s_libraries.Where(l => !IsThere(l.File)).ToList();
        return missing.Count == 0
            ? new DoctorCheck("libraries", "Kernel formats", DoctorStatus.Ok, $"gzip, {string.Join(", ", s_libraries.Select(l => l.Format))}")
            : new DoctorCheck("libraries", "Kernel formats", DoctorStatus.Warning, $"cannot unpack kernels in {string.Join(", ", missing.Select(l => l.Format))}")
            {
                Cause = $"missing: {string.Join(", ", missing.Select(l => l.File))}",
                Fix = $"sudo apt install {string.Join(' ', missing.Select(l => l.Package))}",
            };
    }

    private static bool IsThere(string library)
    {
        if (!NativeLibrary.TryLoad(library, out var handle))
            return false;
        NativeLibrary.Free(handle);
        return true;
    }

    private static DoctorCheck RuntimeFolder()
    {
        try
        {
            return new DoctorCheck("runtime-folder", "Runtime folder", DoctorStatus.Ok, Folders.Runtime);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new DoctorCheck("runtime-folder", "Runtime folder", DoctorStatus.Warning, "cannot be used")
            {
                Cause = $"{Configuration.VisibleText.Escape(e.Message)}; the host is probed anew at each run",
                Fix = "Name another one: export KVMSHARP_RUNTIME=$HOME/.kvmsharp-run",
            };
        }
    }

    private static ulong Mib(ulong bytes) => bytes >> 20;
}
