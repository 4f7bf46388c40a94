namespace Kvm.Vmm.Probing;

/// <summary>What the host's files tell of it. Reads below a folder, so that tests can give any host.</summary>
internal sealed class DoctorHost
{
    private readonly string _root;
    private readonly Lazy<Dictionary<string, string>> _processor;

    /// <param name="root">Where the host's /proc, /sys, /etc, /run and /dev are.</param>
    public DoctorHost(string root = "/")
    {
        _root = root;
        _processor = new Lazy<Dictionary<string, string>>(ReadProcessor);
    }

    /// <summary>The processor's name, or its vendor, or a word that nothing is known.</summary>
    public string ProcessorName => Processor("model name") ?? Processor("vendor_id") ?? "unknown processor";

    /// <summary>True if the processor is Intel's, by its own word.</summary>
    public bool IsIntel => Processor("vendor_id") == "GenuineIntel";

    /// <summary>The processor offers VT-x.</summary>
    public bool HasVmx => HasFlag("vmx");

    /// <summary>The processor offers AMD-V.</summary>
    public bool HasSvm => HasFlag("svm");

    /// <summary>The host says that it is a guest itself (CPUID leaf 1, ECX bit 31).</summary>
    public bool IsGuest => HasFlag("hypervisor");

    /// <summary>Names of the loaded modules of KVM, in order.</summary>
    public IReadOnlyList<string> KvmModules
    {
        get
        {
            var folder = Path.Combine(_root, "sys/module");
            return Directory.Exists(folder)
                ? [.. Directory.GetDirectories(folder, "kvm*").Select(d => Path.GetFileName(d)!).Order(StringComparer.Ordinal)]
                : [];
        }
    }

    /// <summary>A driver has registered the device kvm, whether its node is there or not.</summary>
    public bool IsKvmRegistered => Lines("proc/misc").Any(line => line.Trim().EndsWith(" kvm", StringComparison.Ordinal));

    /// <summary>The container this process runs in, or null.</summary>
    public string? Container
    {
        get
        {
            if (Exists(".dockerenv"))
                return "Docker";
            if (Exists("run/.containerenv"))
                return "Podman";
            if (Exists("var/run/secrets/kubernetes.io"))
                return "Kubernetes";
            return Read("run/systemd/container") is { Length: > 0 } name ? name : null;
        }
    }

    /// <summary>What the firmware calls the machine, or null: names the hypervisor where the host is a guest.</summary>
    public string? MachineName
    {
        get
        {
            var words = new[] { Read("sys/class/dmi/id/sys_vendor"), Read("sys/class/dmi/id/product_name") }.Where(w => w is { Length: > 0 });
            var name = string.Join(' ', words);
            return name.Length > 0 ? name : Read("sys/hypervisor/type");
        }
    }

    /// <summary>The members of the group kvm that /etc/group names.</summary>
    public IReadOnlyList<string> KvmGroupMembers => KvmGroup is [_, _, _, var members] ? members.Split(',', StringSplitOptions.RemoveEmptyEntries) : [];

    /// <summary>True if there is a group kvm.</summary>
    public bool HasKvmGroup => KvmGroup is not null;

    /// <summary>True if this process has the group kvm.</summary>
    public bool IsInKvmGroup => KvmGroup is [_, _, var number, ..] && (Status("Groups:") ?? "").Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries).Contains(number);

    private string[]? KvmGroup => Lines("etc/group").Select(line => line.Split(':')).FirstOrDefault(fields => fields is ["kvm", ..]);

    /// <summary>A file's text without white space around it, or null where it cannot be read.</summary>
    public string? Read(string path)
    {
        try
        {
            return File.ReadAllText(Path.Combine(_root, path)).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Whether a file or folder is there.</summary>
    public bool Exists(string path) => Path.Exists(Path.Combine(_root, path));

    /// <summary>The permissions of a file, or null.</summary>
    public UnixFileMode? Mode(string path)
    {
        try
        {
            return File.GetUnixFileMode(Path.Combine(_root, path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>A field of /proc/meminfo in bytes, or null.</summary>
    public ulong? Memory(string field) =>
        Lines("proc/meminfo").FirstOrDefault(l => l.StartsWith(field + ":", StringComparison.Ordinal)) is { } line
        && ulong.TryParse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], out var kib)
            ? kib << 10
            : null;

    private bool HasFlag(string flag) => (Processor("flags") ?? "").Split(' ').Contains(flag);

    private string? Processor(string field) => _processor.Value.GetValueOrDefault(field);

    private string? Status(string field) =>
        Lines("proc/self/status").FirstOrDefault(l => l.StartsWith(field, StringComparison.Ordinal))?[field.Length..];

    private string[] Lines(string path) => Read(path)?.Split('\n') ?? [];

    /// <summary>The first processor of /proc/cpuinfo: the others are alike.</summary>
    private Dictionary<string, string> ReadProcessor()
    {
        var fields = new Dictionary<string, string>();
        foreach (var line in Lines("proc/cpuinfo").TakeWhile(l => l.Length > 0))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon > 0)
                fields.TryAdd(line[..colon].Trim(), line[(colon + 1)..].Trim());
        }

        return fields;
    }
}
