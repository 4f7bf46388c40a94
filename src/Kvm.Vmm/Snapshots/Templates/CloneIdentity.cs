using System.Globalization;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Interop;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Vmm.Snapshots.Templates;

/// <summary>Something that a clone has otherwise than what it was made from.</summary>
/// <param name="What">What, such as <c>net0</c>.</param>
/// <param name="From">What it was.</param>
/// <param name="To">What it is.</param>
public sealed record CloneChange(string What, string From, string To);

/// <summary>A machine that goes on from another one's state beside it: with a name, addresses, sockets and disks of its own.</summary>
public static class CloneIdentity
{
    /// <summary>Gives a clone what is to be its own, and makes its disks: overlays of those it was made from, in a folder.</summary>
    /// <param name="settings">The configuration that was saved.</param>
    /// <param name="content">The snapshot.</param>
    /// <param name="name">The clone's name.</param>
    /// <param name="folder">Where its disks go; made where there are any.</param>
    /// <param name="runtimeFolder">Where its sockets go.</param>
    /// <returns>Its configuration, and what is other than it was.</returns>
    /// <exception cref="VmmException">A disk has moved on since the snapshot (KVM0520), or its overlay cannot be made.</exception>
    public static (RunSettings Settings, IReadOnlyList<CloneChange> Changes) Make(RunSettings settings, SnapshotContent content, string name, string folder, string runtimeFolder)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(content);
        var report = new RestoreReport(allowDifferences: false);
        DiskGenerations.Check(content.Disks, settings.Machine, report);
        report.Check();
        List<CloneChange> changes = [new("name", settings.Machine.Name, name), new("generation id", "", "new"), new("random numbers", "", "made anew by the guest from the generation id")];
        var machine = settings.Machine with
        {
            Name = name,
            Networks = [.. settings.Machine.Networks.Select((card, index) => Card(card, index, changes))],
            Disks = [.. settings.Machine.Disks.Select((disk, index) => Disk(disk, index, folder, changes))],
            Ports = [.. settings.Machine.Ports.Select(port => port with { SocketPath = Changed($"port {port.Name}", port.SocketPath, $"{port.SocketPath}.{name}", changes) })],
            Vsock = settings.Machine.Vsock is { } vsock ? Sockets(vsock, settings.Machine.Agent, name, runtimeFolder, changes) : null,
            Capture = null,
        };
        return (settings with { Machine = machine, ReportPath = null, TranslationsPath = null, Gdb = null }, changes);
    }

    private static NetConfig Card(NetConfig card, int index, List<CloneChange> changes)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"net{index}");
        var mac = NetworkBackends.AnyMac();
        Changed(what, card.Mac?.ToString() ?? "", mac.ToString(), changes);
        if (card.Publish.Count > 0)
            changes.Add(new CloneChange($"{what} ports", string.Join(' ', card.Publish), "none"));
        // A port of the host's is one guest's.
        return card with { Mac = mac, Publish = [] };
    }

    private static DiskConfig Disk(DiskConfig disk, int index, string folder, List<CloneChange> changes)
    {
        if (disk.ReadOnly)
            return disk;
        string what = string.Create(CultureInfo.InvariantCulture, $"disk{index}");
        string path = Path.Combine(folder, what + ".qcow2");
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string format = disk.Format == DiskFormat.Qcow2 ? "qcow2" : "raw";
        DiskTool.Create(new ImageName(path, ImageFormat.Qcow2, AllowBacking: true), size: null, new ImageOptions { BackingFile = disk.Path, BackingFormat = format }, force: false);
        return disk with { Path = Changed(what, disk.Path, path, changes), Format = DiskFormat.Qcow2, AllowBacking = true, Volume = null };
    }

    private static VsockConfig Sockets(VsockConfig vsock, bool agent, string name, string runtimeFolder, List<CloneChange> changes)
    {
        Span<byte> random = stackalloc byte[4];
        HostRandom.Fill(random);
        uint cid = VsockDevice.FirstGuestCid + (BitConverter.ToUInt32(random) % (int.MaxValue - VsockDevice.FirstGuestCid));
        string path = (agent ? AgentClient.PathOf(runtimeFolder, name) : null) ?? $"{vsock.SocketPath}.{name}";
        Changed("vsock", vsock.Cid.ToString(CultureInfo.InvariantCulture), cid.ToString(CultureInfo.InvariantCulture), changes);
        return vsock with { Cid = cid, SocketPath = Changed("vsock socket", vsock.SocketPath, path, changes) };
    }

    private static string Changed(string what, string from, string to, List<CloneChange> changes)
    {
        changes.Add(new CloneChange(what, from, to));
        return to;
    }
}
