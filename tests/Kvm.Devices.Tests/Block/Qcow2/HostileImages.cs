using System.Buffers.Binary;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>Valid images, and what somebody changed in them.</summary>
internal static class HostileImages
{
    public static byte[] Set32(this byte[] image, int at, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(at), value);
        return image;
    }

    public static byte[] Set64(this byte[] image, int at, ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(at), value);
        return image;
    }

    public static ulong Get64(this byte[] image, int at) => BinaryPrimitives.ReadUInt64BigEndian(image.AsSpan(at));

    public static int ClusterSize(this byte[] image) => 1 << image[23];

    /// <summary>Where the L1 table is.</summary>
    public static int L1(this byte[] image) => (int)image.Get64(40);

    /// <summary>Where the first L2 table is.</summary>
    public static int L2(this byte[] image) => (int)(image.Get64(image.L1()) & Qcow2Format.OffsetMask);

    public static int RefcountTable(this byte[] image) => (int)image.Get64(48);

    /// <summary>An image with an internal snapshot, made as other programs make them.</summary>
    public static byte[] WithSnapshot()
    {
        byte[] image = Rig.Valid();
        int cluster = image.ClusterSize(), table = (image.Length + cluster - 1) / cluster * cluster, l1 = table + cluster;
        Array.Resize(ref image, l1 + cluster);
        image.AsSpan(image.L1(), cluster).CopyTo(image.AsSpan(l1));
        image.Set64(table, (ulong)l1).Set32(table + 8, BinaryPrimitives.ReadUInt32BigEndian(image.AsSpan(36)));
        (image[table + 13], image[table + 15]) = (1, 3); // lengths of id and name
        "1one"u8.CopyTo(image.AsSpan(table + 40));
        image.Set32(60, 1).Set64(64, (ulong)table);
        return Mended(image);
    }

    /// <summary>An image with compressed clusters, two of which share one of the file's.</summary>
    public static byte[] WithCompressed()
    {
        var file = new GrowingFile(Rig.Valid());
        using (var rig = new Rig())
        using (var image = Qcow2Image.Open(file, Rig.Open))
        {
            for (uint i = 0; i < 8; i++)
                rig.WriteCompressed(image, 0x80000 + (i * 4096), (byte)(i + 1)).Should().Be(DiskResult.Done);
        }

        return file.ToArray();
    }

    /// <summary>The image with counts and flags that fit its tables.</summary>
    public static byte[] Mended(byte[] image)
    {
        var file = new GrowingFile(image);
        Qcow2Check.Run(file, Qcow2Repair.All).IsClean.Should().BeTrue();
        return file.ToArray();
    }
}
