using System.Text;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>Firecracker's configuration file: the bodies of its PUTs by name, done one after another as a client would.</summary>
internal static class ConfigurationFile
{
    /// <summary>In the order that a client would take: an interface comes before the metadata at it.</summary>
    private static readonly string[] s_order =
    [
        "logger", "metrics", "machine-config", "cpu-config", "boot-source", "drives", "pmem", "network-interfaces", "mmds-config", "mmds", "vsock", "balloon", "entropy",
        "memory-hotplug", "serial",
    ];

    /// <summary>Configures a microVM by a file.</summary>
    /// <exception cref="VmmException">It cannot be read, or something in it is refused.</exception>
    public static void Apply(MicroVm vm, string path)
    {
        var file = Read(path);
        foreach (var member in file.EnumerateObject())
        {
            if (!s_order.Contains(member.Name))
                throw new VmmException(UsageErrors.ConfigUnknownMember, $"{VisibleText.Quote(path)}: {VisibleText.Quote(member.Name, 40)}{(NearestName.Find(member.Name, s_order) is { } near ? $"; did you mean '{near}'?" : "")}");
        }

        foreach (string name in s_order)
        {
            if (!file.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
                continue;
            try
            {
                foreach (var part in value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().ToArray() : [value])
                    Apply(vm, name, part);
            }
            catch (VmmException e)
            {
                throw new VmmException(e.Error, $"{VisibleText.Quote(path)}, {name}: {e.Message}", e);
            }
        }
    }

    private static void Apply(MicroVm vm, string name, JsonElement value)
    {
        ReadOnlyMemory<byte> body = Encoding.UTF8.GetBytes(value.GetRawText());
        _ = name switch
        {
            "logger" => vm.ConfigureLogger(body),
            "metrics" => vm.ConfigureMetrics(body),
            "mmds" => vm.WriteMetadata(body, isPatch: false),
            "machine-config" => vm.Configure(s => PreBoot.MachineConfig(s, body, isPatch: false)),
            "cpu-config" => vm.Configure(s => IgnoreNothing(s, body)),
            "boot-source" => vm.Configure(s => PreBoot.BootSource(s, body)),
            "drives" => vm.Configure(s => PreBoot.Drive(s, IdOf(value, "drive_id"), body)),
            "network-interfaces" => vm.Configure(s => PreBoot.NetworkInterface(s, IdOf(value, "iface_id"), body)),
            "mmds-config" => vm.Configure(s => PreBoot.MetadataConfig(s, body)),
            "vsock" => vm.Configure(s => PreBoot.Vsock(s, body)),
            "balloon" => vm.Configure(s => PreBoot.Balloon(s, body)),
            "entropy" => vm.Configure(s => PreBoot.Entropy(s, body)),
            "serial" => vm.Configure(s => PreBoot.Serial(s, body)),
            "pmem" => throw Body.Lacks("virtio-pmem: a drive does"),
            _ => throw Body.Lacks("virtio-mem: a balloon does"),
        };
    }

    private static MicroVmSettings IgnoreNothing(MicroVmSettings settings, ReadOnlyMemory<byte> body)
    {
        PreBoot.CpuConfig(body);
        return settings;
    }

    private static string IdOf(JsonElement value, string member) =>
        value.ValueKind == JsonValueKind.Object && value.TryGetProperty(member, out var id) && id.ValueKind == JsonValueKind.String
            ? id.GetString()! : throw Body.Wrong($"an element lacks '{member}'");

    private static JsonElement Read(string path)
    {
        try
        {
            byte[] text = ReadBounded(path);
            var file = Body.Parse(text, []);
            JsonMembers.Check(file, null);
            return file;
        }
        catch (ApiRefusal e)
        {
            throw new VmmException(UsageErrors.ConfigNotJson, $"{VisibleText.Quote(path)}: {e.Message}", e);
        }
    }

    /// <summary>A file of a configuration's size.</summary>
    /// <exception cref="VmmException">It cannot be read, or is too large.</exception>
    public static byte[] ReadBounded(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            byte[] text = new byte[ConfigFile.MaxBytes + 1];
            int length = file.ReadAtLeast(text, text.Length, throwOnEndOfStream: false);
            return length <= ConfigFile.MaxBytes ? text[..length]
                : throw new VmmException(UsageErrors.ConfigTooLarge, $"{VisibleText.Quote(path)} has more than {ConfigFile.MaxBytes} bytes");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(UsageErrors.ConfigUnreadable, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }
}
