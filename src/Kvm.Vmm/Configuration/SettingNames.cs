using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Network;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Virtio;
using Kvm.Vmm.Virtio.Ports;

namespace Kvm.Vmm.Configuration;

/// <summary>
/// The words by which the command line, the configuration file and reports name the choices of a machine: one list
/// for all of them. The order of each list is the order of its enumeration.
/// </summary>
public static class SettingNames
{
    /// <summary>The names of <see cref="EngineChoice"/>, in its order.</summary>
    public static IReadOnlyList<string> Engines { get; } = ["auto", "kvm", "soft"];

    /// <summary>The names of <see cref="CpuModel"/>, in its order.</summary>
    public static IReadOnlyList<string> CpuModels { get; } = ["v2", "v3"];

    /// <summary>The names of <see cref="PagingMode"/>, in its order.</summary>
    public static IReadOnlyList<string> PagingModes { get; } = ["tlb", "shadow"];

    /// <summary>The names of <see cref="BootProtocol"/>, in its order.</summary>
    public static IReadOnlyList<string> Protocols { get; } = ["auto", "linux64", "pvh", "linux32", "multiboot"];

    /// <summary>The names of <see cref="IoDiscipline"/>, in its order.</summary>
    public static IReadOnlyList<string> Disciplines { get; } = ["none", "deadline", "fair"];

    /// <summary>The names of <see cref="DiskCache"/>, in its order.</summary>
    public static IReadOnlyList<string> Caches { get; } = ["writeback", "writethrough", "none", "unsafe"];

    /// <summary>The names of <see cref="DiskFormat"/>, in its order.</summary>
    public static IReadOnlyList<string> DiskFormats { get; } = ["raw", "qcow2"];

    /// <summary>The word that lets a disk be based on other files.</summary>
    public const string Backing = "allow";

    /// <summary>The names of <see cref="DiskAio"/>, in its order.</summary>
    public static IReadOnlyList<string> Aios { get; } = ["threads", "uring"];

    /// <summary>The names of <see cref="VirtioTransport"/>, in its order.</summary>
    public static IReadOnlyList<string> Transports { get; } = ["pci", "mmio", "transitional"];

    /// <summary>The names of <see cref="GuestConsole"/>, in its order.</summary>
    public static IReadOnlyList<string> GuestConsoles { get; } = ["serial", "virtio"];

    /// <summary>The names of <see cref="UserStack"/>, in its order.</summary>
    public static IReadOnlyList<string> UserStacks { get; } = ["auto", "passt", "slirp"];

    /// <summary>Of <see cref="MetadataVersion"/>.</summary>
    public static IReadOnlyList<string> MetadataVersions { get; } = ["V1", "V2"];

    /// <summary>The name of an engine choice.</summary>
    /// <param name="engine">A defined choice.</param>
    public static string Of(EngineChoice engine) => Engines[(int)engine];

    /// <summary>The name of a processor.</summary>
    /// <param name="cpu">A defined model.</param>
    public static string Of(CpuModel cpu) => CpuModels[(int)cpu];

    /// <summary>The name of a way to translate addresses.</summary>
    /// <param name="paging">A defined mode.</param>
    public static string Of(PagingMode paging) => PagingModes[(int)paging];

    /// <summary>The name of a boot protocol.</summary>
    /// <param name="protocol">A defined protocol.</param>
    public static string Of(BootProtocol protocol) => Protocols[(int)protocol];

    /// <summary>The name of a discipline.</summary>
    /// <param name="discipline">A defined discipline.</param>
    public static string Of(IoDiscipline discipline) => Disciplines[(int)discipline];

    /// <summary>The name of a cache mode.</summary>
    /// <param name="cache">A defined mode.</param>
    public static string Of(DiskCache cache) => Caches[(int)cache];

    /// <summary>The name of a transport.</summary>
    /// <param name="transport">A defined transport.</param>
    public static string Of(VirtioTransport transport) => Transports[(int)transport];

    /// <summary>The name of a guest's console.</summary>
    /// <param name="console">A defined console.</param>
    public static string Of(GuestConsole console) => GuestConsoles[(int)console];

    /// <summary>The place of a name in one of the lists, or -1.</summary>
    /// <param name="names">One of the lists of this class.</param>
    /// <param name="name">A name, exactly.</param>
    public static int IndexOf(IReadOnlyList<string> names, string name)
    {
        ArgumentNullException.ThrowIfNull(names);
        for (var i = 0; i < names.Count; i++)
        {
            if (names[i] == name)
                return i;
        }

        return -1;
    }
}
