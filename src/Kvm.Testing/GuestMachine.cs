using Kvm.Vmm;
using Kvm.Vmm.Network;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Testing;

/// <summary>A guest's options as a machine.</summary>
internal static class GuestMachine
{
    private const uint Cid = 3;
    private const long CaptureBytes = 64 << 20;

    /// <summary>By what the agent is reached.</summary>
    private static readonly string[] s_agentsModules = ["virtio_pci", "vmw_vsock_virtio_transport"];

    /// <summary>The machine, and the files it needs.</summary>
    /// <param name="options">The guest.</param>
    /// <param name="files">What the names of its files begin with.</param>
    public static VmConfig Configure(GuestOptions options, string files)
    {
        var image = options.Image ?? GuestImage.Small;
        var config = new VmConfig
        {
            Name = options.Name,
            KernelPath = image.KernelPath,
            InitrdPath = Initrd(image, options, files),
            Append = string.Join(' ', ((string[])["quiet", "kvmsharp.agent=1", options.Network is null ? "" : "ip=dhcp", options.Append]).Where(part => part.Length > 0)),
            Cpus = options.Cpus,
            MemoryBytes = options.MemoryBytes,
            Engine = options.Engine,
            Entropy = true,
            Vsock = new VsockConfig { Cid = Cid, SocketPath = files + ".vsock" },
            Networks = options.Network is { } network ? [network.Card(options.Name)] : [],
        };
        config = options.Configure?.Invoke(config) ?? config;
        return config.Networks.Count == 0 || config.Capture is not null ? config : config with { Capture = new CaptureConfig(files + ".pcapng", CaptureBytes) };
    }

    /// <summary>Builds it.</summary>
    public static VirtualMachine Build(VmConfig config, GuestConsole console) => VirtualMachine.Build(config, HostOf(console));

    /// <summary>Builds it as it was.</summary>
    public static VirtualMachine Restore(VmConfig config, GuestConsole console, MachineSnapshot snapshot) => VirtualMachine.Restore(config, HostOf(console), snapshot);

    /// <summary>Removes its files.</summary>
    public static void Clean(string files)
    {
        foreach (string file in Directory.EnumerateFiles(Path.GetDirectoryName(files)!, Path.GetFileName(files) + ".*"))
            File.Delete(file);
    }

    private static VmHost HostOf(GuestConsole console) => new() { ConsoleOutput = console.Write };

    private static string Initrd(GuestImage image, GuestOptions options, string files)
    {
        var modules = KernelModules.FilesOf(image.ModulesPath, image.ModulesPath is null ? options.Modules : [.. s_agentsModules, .. options.Modules]);
        if (options.Files.Count == 0 && modules.Count == 0)
            return image.InitrdPath;
        string path = files + ".cpio";
        using var output = File.Create(path);
        Initramfs.Write(output, image.InitrdPath, modules.Concat(options.Files));
        return path;
    }
}
