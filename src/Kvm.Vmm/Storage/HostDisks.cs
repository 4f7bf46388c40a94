using Kvm.Devices.Block.Scheduling;
using Kvm.Interop;

namespace Kvm.Vmm.Storage;

/// <summary>The disks of the host that this process's guests are on, as far as they can be told apart: by the device a file's file system is on. Thread-safe.</summary>
internal static class HostDisks
{
    // Never more than the host has devices.
    private static readonly Dictionary<ulong, HostDisk> s_disks = [];

    /// <summary>The disk that a file is on.</summary>
    public static HostDisk Of(FileIdentity file)
    {
        lock (s_disks)
        {
            if (!s_disks.TryGetValue(file.Device, out var disk))
                s_disks[file.Device] = disk = new HostDisk();
            return disk;
        }
    }
}
